"""What a base takes in memory is known before its weights are read, and never said to be more than it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from routing.base import load_base, load_model
from routing.base_size import laid_size_of, size_of
from routing.layouts import Layout, Wanted
from tests.routing.test_architectures import SHAPES
from tests.routing.test_promised import base_named, published
from tests.tiny import tiny_llama, tiny_t5

WHOLE = Wanted("stored")


def held(folder: Path, dtype: torch.dtype) -> int:
    """What the weights take once they are loaded whole; those that share memory are there once."""
    return sum(weight.nbytes for weight in load_model(folder, dtype).parameters())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", sorted(SHAPES))
def test_loaded_whole_it_takes_as_much_as_was_said(name: str, dtype: torch.dtype, tmp_path: Path) -> None:
    folder = base_named(name, tmp_path)

    assert size_of(folder, dtype) == held(folder, dtype)


@pytest.mark.parametrize("base", [tiny_llama, tiny_t5])
def test_files_of_float32_and_other_numbers_than_float32_are_not_read_one_by_one(
    base: Callable[[], Path], tmp_path: Path
) -> None:
    halves = published(base(), tmp_path, torch.bfloat16)

    found = [laid_size_of(halves, dtype, Wanted("halves")) for dtype in (torch.bfloat16, torch.float16)]
    assert (
        found == [held(halves, torch.bfloat16)] * 2
    )  # T5 keeps some in float32, beside float16: that is more
    assert laid_size_of(base(), torch.float32, Wanted("halves")) == held(base(), torch.float32)


@pytest.mark.parametrize("layout", [None, "halves", "panels", "stored"])
def test_matrices_of_16_bits_count_at_their_width_where_they_may_keep_it(
    layout: Layout | None, tmp_path: Path
) -> None:
    folder = published(tiny_llama(), tmp_path, torch.bfloat16)
    weights = dict(load_base(folder).model.named_parameters())
    matrices = [weight for weight in weights.values() if weight.ndim > 1]
    others = sum(weight.nbytes for weight in weights.values() if weight.ndim == 1)

    found = laid_size_of(folder, torch.float32, Wanted(layout))

    width = 2 if layout in (None, "halves") else 4
    assert found == others + sum(weight.numel() * width for weight in matrices)


def test_of_what_is_quantised_or_no_base_nothing_is_known(tmp_path: Path) -> None:
    folder = published(tiny_llama(), tmp_path / "base", torch.bfloat16)
    config = json.loads((folder / "config.json").read_text())
    for unknown in (
        {**config, "quantization_config": {"quant_method": "awq"}},
        {**config, "model_type": "nobody's"},
    ):
        (folder / "config.json").write_text(json.dumps(unknown))

        assert size_of(folder, torch.float32) is None
        assert laid_size_of(folder, torch.float32, WHOLE) is None
    assert size_of(tmp_path / "nowhere", torch.float32) is None


def test_files_that_cannot_be_read_are_left_to_who_loads_them(tmp_path: Path) -> None:
    folder = published(tiny_llama(), tmp_path, torch.bfloat16)
    (folder / "model.safetensors").write_bytes(b"nothing of the kind")

    assert laid_size_of(folder, torch.float32, WHOLE) is None
