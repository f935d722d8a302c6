"""A base model is described by its layers, pinned by digests, and refused when it is another one."""

import dataclasses
import json
import shutil
import sys
from io import StringIO
from pathlib import Path

import pytest
import torch

from routing.base import inspect_base, load_base
from routing.errors import UnsupportedBase, WrongBase
from routing.spec import BaseRef, BaseSpec
from tests.tiny import tiny_gpt2, tiny_llama


@pytest.fixture
def copied_llama(tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_llama(), tmp_path / "base"))


def test_the_table_of_a_llama_holds_every_linear_layer_but_the_head() -> None:
    spec = inspect_base(BaseRef(str(tiny_llama())), name="llama")

    assert len(spec.target_modules) == 2 * 7
    assert spec.architecture == "LlamaForCausalLM"
    key = spec.module("model.layers.1.self_attn.k_proj")
    assert (key.kind, key.d_in, key.d_out) == ("linear", 32, 16)
    assert "lm_head" not in spec
    assert (spec.vocabulary, spec.context) == (320, 256)


def test_the_widths_of_a_transposed_layer_are_not_swapped() -> None:
    spec = inspect_base(BaseRef(str(tiny_gpt2())), name="gpt2")

    up = spec.module("transformer.h.0.mlp.c_fc")
    assert (up.kind, up.d_in, up.d_out) == ("conv1d", 48, 192)


@pytest.mark.parametrize("folder", [tiny_llama, tiny_gpt2])
def test_the_spectral_norm_is_near_the_largest_singular_value(folder: object) -> None:
    base = load_base(BaseRef(str(folder())))  # type: ignore[operator]
    layers = dict(base.model.named_modules())

    for module in base.spec.target_modules:
        true = torch.linalg.matrix_norm(layers[module.name].weight.double(), 2).item()
        assert 0.8 * true <= module.spectral_norm <= 1.01 * true


def test_a_specification_survives_json() -> None:
    spec = inspect_base(BaseRef(str(tiny_llama())), name="llama")

    again = BaseSpec.from_json(json.loads(json.dumps(spec.to_json())))

    assert again == spec
    assert again.digest == spec.digest


def test_the_same_base_is_described_alike_elsewhere(copied_llama: Path) -> None:
    here = inspect_base(BaseRef(str(tiny_llama())), name="llama")

    assert inspect_base(BaseRef(str(copied_llama)), name="llama").digest == here.digest


@pytest.mark.parametrize(
    ("file", "field"),
    [
        ("config.json", "config_digest"),
        ("tokenizer.json", "tokenizer_digest"),
        ("model.safetensors", "weights_digest"),
    ],
)
def test_a_base_that_changed_is_refused_by_the_name_of_what_changed(
    copied_llama: Path, file: str, field: str
) -> None:
    spec = inspect_base(BaseRef(str(copied_llama)), name="llama")
    content = bytearray((copied_llama / file).read_bytes())
    content[-2] ^= 1
    (copied_llama / file).write_bytes(content)

    with pytest.raises(WrongBase, match=field):
        load_base(BaseRef(str(copied_llama)), spec=spec)


def test_a_base_of_the_right_digests_loads_frozen_and_evaluating() -> None:
    spec = inspect_base(BaseRef(str(tiny_llama())), name="llama")

    base = load_base(BaseRef(str(tiny_llama())), spec=spec)

    assert not base.model.training
    assert not any(parameter.requires_grad for parameter in base.model.parameters())
    assert base.tokenizer.decode(base.tokenizer("Bread & çheese").input_ids) == "Bread & çheese"


def test_a_base_with_code_of_its_own_is_refused_without_running_or_asking(
    copied_llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    witness = copied_llama / "ran"
    (copied_llama / "modelling.py").write_text(f"open({str(witness)!r}, 'w')\nclass Config: pass\n")
    config = json.loads((copied_llama / "config.json").read_text())
    config |= {"model_type": "homemade", "auto_map": {"AutoConfig": "modelling.Config"}}
    (copied_llama / "config.json").write_text(json.dumps(config))
    monkeypatch.setattr(sys, "stdin", StringIO("y\n"))

    with pytest.raises(UnsupportedBase, match="contains custom code"):
        inspect_base(BaseRef(str(copied_llama)), name="x")

    assert sys.stdin.read() == "y\n"
    assert not witness.exists()


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedBase, match=r"config\.json"):
        inspect_base(BaseRef(str(tmp_path)), name="nothing")


def test_a_name_that_is_nowhere_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)

    with pytest.raises(UnsupportedBase, match="no/such-model"):
        inspect_base(BaseRef("no/such-model"), name="nothing")


def test_every_field_of_a_specification_takes_part_in_its_digest() -> None:
    spec = inspect_base(BaseRef(str(tiny_llama())), name="llama")

    assert dataclasses.replace(spec, weights_digest="0" * 64).digest != spec.digest
    assert dataclasses.replace(spec, context=1).digest != spec.digest
