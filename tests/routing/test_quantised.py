"""Merged weights in fewer bits: other software loads them, and they are as far off as they say."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from routing.base import load_base
from routing.checkpoint import Source
from routing.errors import BadCheckpoint
from routing.export import write_merged
from routing.quantised import LIBRARY, Rounding, difference, rounding_for, write_quantised
from tests.routing.libraries import TEXT, SmallLibrary
from tests.routing.published import PublishedLibrary
from tests.tiny import tiny_adapter, tiny_gpt2, tiny_llama, tiny_t5

REQUIREMENTS = Path(__file__).parents[2] / "requirements"


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> SmallLibrary:
    folder = tmp_path_factory.mktemp("adapters")
    adapters = {name: tiny_adapter(folder / name, seed=seed) for seed, name in enumerate(("a", "b"))}
    return SmallLibrary(tiny_llama(), {f"ada/{name}": path for name, path in adapters.items()})


@pytest.fixture(scope="module")
def source(library: SmallLibrary, tmp_path_factory: pytest.TempPathFactory) -> Source:
    published = PublishedLibrary(tmp_path_factory.mktemp("store"), library)
    return Source(published.store, published.manifest(), published.spec, published.base)


@pytest.fixture(scope="module")
def written(source: Source, tmp_path_factory: pytest.TempPathFactory) -> Mapping[int | None, Path]:
    """The same merge as the base has it, and in 8 and 4 bits."""
    root = tmp_path_factory.mktemp("merged")
    for bits in (None, 8, 4):
        write_merged(root / str(bits), source, bits=bits)
    return {bits: root / str(bits) for bits in (None, 8, 4)}


def told(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "fletch.json").read_text())
    return found


def log_probabilities(folder: Path, tokens: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return AutoModelForCausalLM.from_pretrained(folder).eval()(tokens).logits.log_softmax(-1)


@pytest.mark.parametrize(("bits", "group"), [(8, None), (4, 32)])
def test_plain_transformers_loads_weights_that_are_off_by_half_a_step_at_most(
    written: Mapping[int | None, Path], bits: int, group: int | None
) -> None:
    exact = AutoModelForCausalLM.from_pretrained(written[None]).state_dict()
    rounded = AutoModelForCausalLM.from_pretrained(written[bits])
    with torch.no_grad():
        rounded(torch.tensor([[5]]))  # unpacks them
    found = rounded.state_dict()
    packed = {name for name in exact if f"{name}_scale" in found}

    assert len(packed) == 14  # 7 layers in each of 2 blocks
    for name, weight in exact.items():
        if name not in packed:
            assert torch.equal(found[name], weight)
            continue
        groups = weight.unflatten(-1, (-1, group or weight.shape[-1]))
        step = groups.abs().amax(-1, keepdim=True) / (2 ** (bits - 1) - 0.5)
        off = (found[name].unflatten(-1, (-1, group or weight.shape[-1])) - groups).abs()
        assert bool((off <= step * 0.5001).all())
        assert bool((off > 0).any())


def test_fewer_bits_are_smaller_and_further_off(
    written: Mapping[int | None, Path], library: SmallLibrary
) -> None:
    tokens = torch.tensor([library.base().tokenizer(TEXT)["input_ids"]])
    exact, eight, four = (log_probabilities(written[bits], tokens) for bits in (None, 8, 4))
    sizes = [(written[bits] / "model.safetensors").stat().st_size for bits in (None, 8, 4)]

    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == 3
    assert 0 < difference(exact, eight).mean < difference(exact, four).mean
    torch.testing.assert_close(eight, exact, atol=0.3, rtol=0)


@pytest.mark.parametrize("bits", [8, 4])
def test_a_checkpoint_says_how_far_it_is_from_the_unrounded_one(
    written: Mapping[int | None, Path], bits: int
) -> None:
    """On texts of anybody's it is as far off as on those that were drawn for it."""
    said, readme = told(written[bits])["quantised"], (written[bits] / "README.md").read_text()
    strange = torch.randint(2, 320, (16, 32), generator=torch.Generator().manual_seed(5))

    measured = difference(*(log_probabilities(written[kept], strange) for kept in (None, bits)))

    off = said["difference"]
    assert (said["bits"], said["group"]) == (bits, {8: None, 4: 32}[bits])
    assert said["bytes"] == (written[bits] / "model.safetensors").stat().st_size < said["unquantised_bytes"]
    assert off["tokens"] == 512
    assert 0.3 < off["kl_mean"] / measured.mean < 3
    assert off["kl_mean"] < off["kl_largest"]
    assert f"{off['kl_mean']:.3g} nats" in readme
    assert "pip install compressed-tensors" in readme
    assert "quantised" not in told(written[None])


def test_the_same_weights_give_the_same_bytes(
    source: Source, written: Mapping[int | None, Path], tmp_path: Path
) -> None:
    write_merged(tmp_path / "again", source, bits=4)

    def digests(folder: Path) -> dict[str, str]:
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}

    assert digests(tmp_path / "again") == digests(written[4])


def test_difference_is_that_of_the_definition() -> None:
    """Kullback and Leibler's, of (3/4, 1/4) from (1/2, 1/2) and of something from itself."""
    before = torch.tensor([[[0.75, 0.25], [0.4, 0.6]]]).log()
    after = torch.tensor([[[0.5, 0.5], [0.4, 0.6]]]).log()

    found = difference(before, after)

    one = 0.75 * torch.tensor(1.5).log() + 0.25 * torch.tensor(0.5).log()
    assert found.largest == pytest.approx(float(one), rel=0.01)
    assert found.mean == pytest.approx(float(one) / 2, rel=0.01)
    assert (found.tokens, found.same) == (2, 1.0)
    with pytest.raises(BadCheckpoint, match="not finite"):
        difference(before, after * float("nan"))


def test_a_group_fits_every_layer_and_is_as_large_as_can_be() -> None:
    spec = load_base(tiny_llama()).spec
    wide = replace(spec, target_modules=tuple(replace(one, d_in=one.d_in * 4) for one in spec.target_modules))

    assert rounding_for(spec, 8) == Rounding(8, None)
    assert rounding_for(spec, 4) == Rounding(4, 32)
    assert rounding_for(wide, 4) == Rounding(4, 128)


def test_a_base_that_cannot_be_rounded_is_refused_before_anything_is_written(
    source: Source, tmp_path: Path
) -> None:
    spec = load_base(tiny_llama()).spec
    odd = replace(spec, target_modules=(replace(spec.target_modules[0], d_in=40), *spec.target_modules[1:]))
    refused = [
        (spec, 5, "bits: found 5, expected 8 or 4"),
        (load_base(tiny_t5()).spec, 8, "is an encoder-decoder, expected a causal base"),
        (load_base(tiny_gpt2()).spec, 8, "is a conv1d layer, expected linear layers alone"),
        (odd, 4, "has 40 inputs, expected a multiple of 32 for 4 bits; take 8"),
    ]

    for base, bits, says in refused:
        with pytest.raises(BadCheckpoint, match=says):
            rounding_for(base, bits)
    with pytest.raises(BadCheckpoint, match="found 5"):
        write_merged(tmp_path / "out", source, bits=5)
    assert not (tmp_path / "out").exists()


def test_weights_of_several_networks_in_one_tensor_are_refused_by_name(tmp_path: Path) -> None:
    mixture = load_base(tiny_llama())
    mixture.model.model.layers[1].experts = torch.nn.Parameter(torch.zeros(2, 4, 4))

    with pytest.raises(BadCheckpoint, match=r"model.layers.1.experts of .* has shape \(2, 4, 4\)"):
        write_quantised(mixture, tmp_path / "out", Rounding(8, None))


def test_without_the_library_the_command_that_brings_it_is_said(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "routing.compressing", raising=False)
    monkeypatch.delattr("routing.compressing", raising=False)
    monkeypatch.setitem(sys.modules, "compressed_tensors", None)

    with pytest.raises(BadCheckpoint, match=f"pip install '{LIBRARY}'"):
        write_merged(tmp_path / "out", source, bits=8)


def test_the_command_names_what_workers_have() -> None:
    assert f"\n{LIBRARY} " in (REQUIREMENTS / "worker.in").read_text()
