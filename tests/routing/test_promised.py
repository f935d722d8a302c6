"""A base of 16-bit files that is read layer by layer is to the bit the one that transformers loads whole."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from routing.base import Base, load_base
from routing.errors import UnsupportedBase, WrongBase
from routing.family import family_of
from routing.laid_base import load_laid
from routing.laying_out import Laid, lay_out, layouts_of
from routing.layouts import LAYOUTS, Layout, Wanted
from routing.panels import PanelLinear
from routing.promised import promised_model
from routing.spec import BaseRef
from tests.routing.test_architectures import SHAPES, TOKENS, tiny
from tests.tiny import VOCABULARY, tiny_gpt2, tiny_llama, tiny_t5, tiny_tokenizer

HALVES = {"bfloat16": torch.bfloat16, "float16": torch.float16}
BASES = ("t5", "t5-relu", *sorted(SHAPES))
ONE_BY_ONE = "not one by one"  # what the log says where it falls back


def published(base: Path, folder: Path, dtype: torch.dtype, **saved: Any) -> Path:
    """The base as a folder of files of this kind of number."""
    config = AutoConfig.from_pretrained(base)
    family_of(config).loader.from_pretrained(base, dtype=dtype).save_pretrained(folder, **saved)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def base_named(name: str, folder: Path) -> Path:
    known: dict[str, Callable[[], Path]] = {
        "t5": tiny_t5,
        "t5-relu": lambda: tiny_t5(gated=False),
        "gpt2": tiny_gpt2,
    }
    return known[name]() if name in known else tiny(name, folder)


def whole(folder: Path, wanted: Wanted) -> tuple[Base, list[Laid]]:
    """As it is loaded where nothing is promised."""
    base = load_base(folder)
    return base, lay_out(base.model, wanted)


def laid(folder: Path, wanted: Wanted) -> tuple[Base, list[Laid]]:
    return load_laid(BaseRef(str(folder)), load_base(folder).spec, wanted=wanted)


@torch.inference_mode()
def logits(base: Base) -> torch.Tensor:
    inputs = base.family.read(base.model, torch.tensor([TOKENS]))
    found: torch.Tensor = base.model(**inputs).logits
    return found


def tensors_of(model: nn.Module) -> dict[str, torch.Tensor]:
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def same(found: Base, expected: Base) -> None:
    """All that the models hold is equal to the bit, and of one kind of number."""
    mine, theirs = tensors_of(found.model), tensors_of(expected.model)
    assert mine.keys() == theirs.keys()
    assert all(mine[name].dtype == theirs[name].dtype for name in mine)
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    for kept in ("config", "generation_config"):
        assert getattr(found.model, kept).to_dict() == getattr(expected.model, kept).to_dict()
    assert layouts_of(found.model) == layouts_of(expected.model)
    assert torch.equal(logits(found), logits(expected))
    assert logits(found).isfinite().all()
    assert (found.device, found.dtype, found.spec) == (expected.device, expected.dtype, expected.spec)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("name", BASES)
def test_every_architecture_says_the_same_to_the_bit(
    name: str, dtype: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shards = {"max_shard_size": "20KB"} if dtype == "float16" else {}
    folder = published(base_named(name, tmp_path / "made"), tmp_path / "base", HALVES[dtype], **shards)
    wanted = Wanted("halves")

    found, kinds = laid(folder, wanted)
    expected, others = whole(folder, wanted)

    assert ONE_BY_ONE not in caplog.text
    assert (len(list(folder.glob("*.safetensors"))) > 1) == bool(shards)
    assert [(one.kind, one.layouts) for one in kinds] == [(one.kind, one.layouts) for one in others]
    assert {one.layout for one in kinds} <= {"halves", "panels"}  # T5's `wo` is float32 beside float16
    assert "halves" in {one.layout for one in kinds}
    same(found, expected)


@pytest.mark.parametrize("base", [tiny_llama, tiny_gpt2])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_in_every_layout(layout: Layout, base: Callable[[], Path], tmp_path: Path) -> None:
    folder = published(base(), tmp_path, torch.bfloat16)

    found, _ = laid(folder, Wanted(layout))

    assert layout in layouts_of(found.model)
    same(found, whole(folder, Wanted(layout))[0])


def test_a_trial_decides_as_over_weights_that_were_read(tmp_path: Path) -> None:
    folder = published(tiny_llama(), tmp_path, torch.bfloat16)
    promised = promised_model(folder)
    assert promised is not None
    model, promises = promised

    def pace(product: Any) -> float:
        assert product.layer(product.x).isfinite().all()
        return 1.0 if (product.layout == "panels") == (product.kind.shape.d_in == 32) else 2.0

    taken = lay_out(model, Wanted(), promises, stopwatch=pace)

    assert {(one.kind.shape.d_in, one.layout) for one in taken} == {(32, "panels"), (64, "stored")}
    assert all(one.trial is not None for one in taken)
    assert not promises.unread(model.parameters())
    expected = load_base(folder).model
    for name, layer in expected.named_modules():
        if isinstance(layer, nn.Linear):
            assert torch.equal(model.get_submodule(name).weight, layer.weight)


def test_until_it_is_read_a_matrix_takes_no_memory(tmp_path: Path) -> None:
    folder = published(tiny_llama(), tmp_path, torch.bfloat16)
    promised = promised_model(folder)
    assert promised is not None
    model, promises = promised
    weight = model.get_parameter("model.layers.1.mlp.up_proj.weight")
    matrix = load_file(folder / "model.safetensors")["model.layers.1.mlp.up_proj.weight"].float()

    assert {id(one) for one in model.parameters() if promises.of(one) is None} == {
        id(one) for one in model.parameters() if one.ndim == 1
    }
    assert weight.untyped_storage().nbytes() < 2**10
    with promises.lent(weight, torch.empty(matrix.numel())):
        assert torch.equal(weight, matrix)
    assert weight.isnan().all()
    promises.keep([weight])
    assert torch.equal(weight, matrix)


def test_an_embedding_and_a_head_of_one_weight_lie_in_memory_once(tmp_path: Path) -> None:
    found, _ = laid(published(tiny_gpt2(), tmp_path, torch.bfloat16), Wanted("halves"))

    head, words = found.model.get_output_embeddings(), found.model.get_input_embeddings()
    assert isinstance(head, PanelLinear)
    assert words.panels is head.panels


@pytest.mark.parametrize("times", [1, 2])
def test_where_files_have_both_transformers_says_whether_they_are_one(
    times: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = published(tiny_gpt2(), tmp_path, torch.bfloat16)
    weights = load_file(folder / "model.safetensors")
    head = weights["transformer.wte.weight"] * times
    save_file({**weights, "lm_head.weight": head}, folder / "model.safetensors", metadata={"format": "pt"})

    found, _ = laid(folder, Wanted("halves"))

    assert ONE_BY_ONE not in caplog.text
    words, speaks = found.model.get_input_embeddings(), found.model.get_output_embeddings()
    assert (getattr(words, "panels", None) is speaks.panels) == (times == 1)
    same(found, whole(folder, Wanted("halves"))[0])


def test_files_of_a_body_alone_go_where_they_belong(tmp_path: Path) -> None:
    """As the first GPT-2 was published: without the name of the part that its weights are of."""
    folder = published(tiny_gpt2(), tmp_path, torch.float16)
    weights = {
        name.removeprefix("transformer."): tensor
        for name, tensor in load_file(folder / "model.safetensors").items()
    }
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})

    found, _ = laid(folder, Wanted("halves"))

    assert set(layouts_of(found.model)) == {"halves"}
    same(found, whole(folder, Wanted("halves"))[0])


def test_what_transformers_puts_together_is_read_with_the_rest(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Experts of Mixtral: a matrix each in the files, and one of all of them in the model."""
    experts = {"num_local_experts": 4, "num_experts_per_tok": 2, "head_dim": 8}
    shape = {**SHAPES["llama"], **experts, "vocab_size": VOCABULARY}
    AutoModelForCausalLM.from_config(AutoConfig.for_model("mixtral", **shape)).save_pretrained(
        tmp_path / "made"
    )
    folder = published(tmp_path / "made", tmp_path / "base", torch.bfloat16)

    found, _ = laid(folder, Wanted("halves"))

    assert ONE_BY_ONE not in caplog.text
    assert layouts_of(found.model)["halves"] > 0
    same(found, whole(folder, Wanted("halves"))[0])


def test_a_base_of_float32_files_is_loaded_as_ever(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert promised_model(tiny_llama()) is None
    same(laid(tiny_llama(), Wanted("panels"))[0], whole(tiny_llama(), Wanted("panels"))[0])
    assert ONE_BY_ONE not in caplog.text


def test_a_model_that_does_something_with_its_weights_is_loaded_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = published(tiny_llama(), tmp_path, torch.bfloat16)

    def doubled(model: Any, **_: object) -> None:
        model.lm_head.weight = nn.Parameter(model.lm_head.weight.detach() * 2)

    monkeypatch.setattr(LlamaForCausalLM, "tie_weights", doubled)

    found, _ = laid(folder, Wanted("halves"))

    assert (
        f"{folder}: its weights are read in float32 all at once, {ONE_BY_ONE}: found nowhere in"
        in caplog.text
    )
    same(found, whole(folder, Wanted("halves"))[0])


def test_a_folder_that_is_not_understood_is_loaded_as_ever(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = published(tiny_llama(), tmp_path, torch.bfloat16)
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})

    found, _ = laid(folder, Wanted("halves"))

    assert "transformers found {'missing_keys': {'model.layers.1.mlp.up_proj.weight'}}" in caplog.text
    assert logits(found).isfinite().all()


def test_another_base_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with pytest.raises(WrongBase, match="weights_digest"):
        load_laid(BaseRef(str(tiny_gpt2())), load_base(tiny_llama()).spec)


def test_files_that_vanish_while_they_are_read_are_named(tmp_path: Path) -> None:
    promised = promised_model(published(tiny_llama(), tmp_path / "base", torch.bfloat16))
    assert promised is not None
    shutil.rmtree(tmp_path / "base")

    with pytest.raises(UnsupportedBase, match=r"model\.safetensors: .* cannot be read any more"):
        lay_out(promised[0], Wanted("halves"), promised[1])


PEAK = """
import sys
import torch
from pathlib import Path
from routing import laid_base, panels, peak_memory
from routing.base_size import laid_size_of
from routing.layouts import Wanted
from routing.spec import BaseRef
torch.set_num_threads(1)
assert panels.loops() is not None
laid_base.refuse_another_base = lambda *_: None
laid_base.load_laid(BaseRef(sys.argv[2]), None)  # what is imported and compiled at first is not the base's
cpu = torch.device("cpu")
peak_memory.begin(cpu)
before = peak_memory.peak_bytes(cpu)
base, laid = laid_base.load_laid(BaseRef(sys.argv[1]), None, wanted=Wanted("halves"))
known = laid_size_of(Path(sys.argv[1]), torch.float32, Wanted("halves"))
print(peak_memory.peak_bytes(cpu) - before, known, {one.layout for one in laid})
"""


def test_the_most_memory_on_the_way_is_near_the_files_size(tmp_path: Path) -> None:
    """Loaded whole it is three times as much: float32, and the pages of the files."""
    config = LlamaConfig(
        vocab_size=4096,
        hidden_size=1024,
        intermediate_size=4096,
        num_hidden_layers=3,
        tie_word_embeddings=True,
    )
    with torch.device("meta"):
        model: Any = LlamaForCausalLM(config)
    model.to(torch.bfloat16).to_empty(device="cpu")
    for weight in model.parameters():
        nn.init.constant_(weight, 0.5)
    model.save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    size = sum(file.stat().st_size for file in tmp_path.glob("*.safetensors"))

    said = subprocess.run(
        [sys.executable, "-c", PEAK, str(tmp_path), str(tiny_llama())],
        check=True,
        capture_output=True,
        text=True,
    ).stdout

    peak, known, layouts = said.strip().splitlines()[-1].split(" ", 2)
    assert layouts == "{'halves'}"
    assert size > 80 * 2**20
    assert size < int(peak) < 1.6 * size
    assert 0.99 * size < int(known) < int(peak)
