"""The plugin where vLLM is not: that it is found, what it makes known, what it refuses, and how it is built."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig

from fletch_vllm.engine import refuse
from fletch_vllm.errors import NotServable
from fletch_vllm.layer import RoutedLayer, SplitInputLayer
from fletch_vllm.mixture import clear
from fletch_vllm.parts import Part
from fletch_vllm.served import read_served
from fletch_vllm.wishes import ARCHITECTURE
from routing.checkpoint import load_checkpoint
from routing.index import RoutingPolicy
from tests.fletch_vllm import an_engine
from tests.fletch_vllm.checkpoints import checkpoint
from tests.routing.libraries import llama_library

PROJECT = Path(__file__).parents[2]
TOKENS = tuple(range(3, 40))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    library = llama_library(tmp_path_factory.mktemp("adapters"))
    return checkpoint(tmp_path_factory.mktemp("model"), library, RoutingPolicy("arrow", top_k=2))


@pytest.fixture
def registry() -> Iterator[type[an_engine.Registry]]:
    with an_engine.vllm() as registry:
        yield registry
    clear()


@pytest.fixture
def model(registry: type[an_engine.Registry]) -> ModuleType:
    """The module of the architecture."""
    assert registry.known == {}
    return import_module("fletch_vllm.model")


def entry_point() -> EntryPoint:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    ((name, value),) = project["entry-points"]["vllm.general_plugins"].items()
    return EntryPoint(name, value, "vllm.general_plugins")


def asked(
    folder: Path | None = None,
    *,
    tensor: int = 1,
    pipeline: int = 1,
    lora: object = None,
    said: object = None,
    **config: int | None,
) -> SimpleNamespace:
    """An engine's configuration for the base of a checkpoint, or for a Llama with these numbers."""
    hf = (
        AutoConfig.for_model("llama", **config)
        if folder is None
        else AutoConfig.from_pretrained(folder / "base")
    )
    if said is not None:
        hf.fletch = said
    return SimpleNamespace(
        parallel_config=SimpleNamespace(tensor_parallel_size=tensor, pipeline_parallel_size=pipeline),
        model_config=SimpleNamespace(
            hf_config=hf, model=str((folder or Path()) / "base"), dtype=torch.float32
        ),
        lora_config=lora,
    )


def test_what_vllm_looks_for_makes_the_architecture_known(registry: type[an_engine.Registry]) -> None:
    register = entry_point().load()

    register()
    register()  # in every process of an engine, and more than once in some

    assert list(registry.known) == [ARCHITECTURE]
    found = EntryPoint(ARCHITECTURE, registry.known[ARCHITECTURE], "").load()
    assert issubclass(found, an_engine.Backend)
    assert found.__name__ == ARCHITECTURE


@pytest.mark.parametrize("said", [None, {"router": "uniform"}, {"top_k": 1}])
def test_the_architecture_answers_as_fletch_does(
    folder: Path, model: ModuleType, said: dict[str, Any] | None
) -> None:
    weights = load_file(folder / "base" / "model.safetensors")
    composed = load_checkpoint(folder)

    served = model.FletchForCausalLM(vllm_config=asked(folder, said=said))
    loaded = served.load_weights(weights.items())

    target = next(iter(read_served(folder, {}).spec.target_modules)).name
    assert f"{target}.base_layer.weight" in loaded
    layers = [layer for layer in served.modules() if isinstance(layer, RoutedLayer)]
    assert {type(layer.base_layer) for layer in layers} == {an_engine.Exchanged}
    wanted = composed.logits(TOKENS, read_served(folder, said or {}).routing)
    torch.testing.assert_close(served.logits(TOKENS), wanted, atol=1e-4, rtol=1e-4)
    assert (wanted - composed.base_logits(TOKENS)).abs().max() > 0.1


def test_what_is_asked_for_beside_it_is_refused_before_experts_are_read(
    model: ModuleType, tmp_path: Path
) -> None:
    with pytest.raises(NotServable, match="--enable-lora"):
        model.FletchForCausalLM(vllm_config=asked(lora=object()))
    with pytest.raises(NotServable, match=r"fletch\.tok_k: not known"):
        model.FletchForCausalLM(vllm_config=asked(said={"tok_k": 2}))


def test_everything_that_an_engine_may_not_be_asked_for_is_said_at_once() -> None:
    with pytest.raises(NotServable) as refused:
        refuse(asked(tensor=3, pipeline=2, lora=object(), num_attention_heads=8, num_key_value_heads=4))

    assert len(refused.value.reasons) == 3
    for reason, begins in zip(
        refused.value.reasons,
        (
            "--enable-lora: ",
            "--pipeline-parallel-size 2: ",
            "--tensor-parallel-size 3: the base's 4 key-value",
        ),
        strict=True,
    ):
        assert reason.startswith(begins)


@pytest.mark.parametrize("size", [1, 2, 4])
def test_heads_that_can_be_shared_out_are_taken(size: int) -> None:
    refuse(asked(tensor=size, num_attention_heads=8, num_key_value_heads=4))
    refuse(asked(tensor=size, num_attention_heads=8, num_key_value_heads=None))  # as many as heads


def test_a_layer_that_reads_a_part_adds_up_once_and_with_the_experts(model: ModuleType) -> None:
    alone, split = an_engine.RowParallelLinear(4, 3), an_engine.RowParallelLinear(4, 3)
    split.tp_size = 2

    whole, part = model.routed("whole", alone), model.routed("part", split)

    assert type(whole) is RoutedLayer
    assert alone.reduce_results
    assert type(part) is SplitInputLayer
    assert not split.reduce_results


def test_experts_are_cut_as_their_layer_is(folder: Path, model: ModuleType) -> None:
    way = read_served(folder, {}).route(torch.float32)
    seat = next(iter(way.seats.values()))
    rows, columns = an_engine.RowParallelLinear(4, 3), an_engine.ColumnParallelLinear(4, 3)
    rows.tp_size = 2
    gathered = an_engine.ColumnParallelLinear(4, 3)
    gathered.gather_output = True

    def shape(layer: torch.nn.Module, part: Part) -> tuple[int, int]:
        mine = model.cut(seat, way.router, layer, part).module
        return mine.a.shape[1], mine.b.shape[1]

    d_in, d_out = seat.module.a.shape[1], seat.module.b.shape[1]
    assert shape(rows, Part(1, 2)) == (d_in // 2, d_out)
    assert shape(columns, Part(1, 2)) == (d_in, d_out // 2)
    assert shape(gathered, Part(1, 2)) == (d_in, d_out)
    assert shape(columns, Part(0, 1)) == (d_in, d_out)
