"""The layer and its operator: with them in a plain model, it answers as the checkpoint does in Fletch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from fletch_vllm.layer import RoutedLayer
from fletch_vllm.mixture import Placed, clear, mixture, place
from fletch_vllm.moments import write_moments
from fletch_vllm.served import read_served
from routing.checkpoint import load_checkpoint
from routing.composed import ComposedModel
from routing.index import RoutingPolicy
from routing.routers import QUERY_ROUTERS, ROUTERS
from tests.fletch_vllm.checkpoints import checkpoint
from tests.routing.libraries import llama_library

TOKENS = tuple(range(3, 60))
OF_TOKENS = sorted(set(ROUTERS) - QUERY_ROUTERS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    library = llama_library(tmp_path_factory.mktemp("adapters"))
    made = checkpoint(
        tmp_path_factory.mktemp("model"), library, RoutingPolicy("arrow", top_k=2), gates_of="bob/wide"
    )
    write_moments(made)
    return made


@pytest.fixture(scope="module")
def composed(folder: Path) -> ComposedModel:
    return load_checkpoint(folder)


@pytest.fixture(autouse=True)
def _nobody_left() -> Iterator[None]:
    yield
    clear()


def wrapped(folder: Path, said: dict[str, object]) -> torch.nn.Module:
    """The checkpoint's base in plain transformers, its target modules inside layers with experts."""
    served = read_served(folder, said)
    way = served.route(torch.float32)
    model = AutoModelForCausalLM.from_pretrained(served.base)
    for module in served.spec.target_modules:
        parent, _, attribute = module.name.rpartition(".")
        layer = RoutedLayer(module.name, model.get_submodule(module.name))
        setattr(model.get_submodule(parent), attribute, layer)
        if module.name in way.seats:
            place(module.name, Placed(way.seats[module.name], way.router))
    return model.eval()


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.inference_mode():
        return model(torch.tensor([TOKENS])).logits[0]


@pytest.mark.parametrize("router", OF_TOKENS)
def test_a_model_of_such_layers_answers_as_fletch_does(
    folder: Path, composed: ComposedModel, router: str
) -> None:
    experts = ("bob/wide",) if router == "single" else None
    said: dict[str, object] = {"router": router} | ({} if experts is None else {"experts": experts})

    found = logits(wrapped(folder, said))

    routing = composed.routing(router=router, experts=experts)
    torch.testing.assert_close(found, composed.logits(TOKENS, routing), atol=1e-4, rtol=1e-4)
    assert (found - composed.base_logits(TOKENS)).abs().max() > 0.1


@pytest.mark.parametrize(
    "said", [{"calibrated": True}, {"abstain": 2.5}, {"experts": ("ada/plain", "eve/late")}]
)
def test_the_terms_of_the_engine_count(
    folder: Path, composed: ComposedModel, said: dict[str, object]
) -> None:
    served = read_served(folder, said)

    found = logits(wrapped(folder, said))

    torch.testing.assert_close(found, composed.logits(TOKENS, served.routing), atol=1e-4, rtol=1e-4)
    assert (found - composed.logits(TOKENS)).abs().max() > 0.01


def test_a_layer_without_experts_is_the_base_layer() -> None:
    linear = torch.nn.Linear(6, 5)
    x = torch.randn(2, 3, 6)

    assert torch.equal(RoutedLayer("nobody", linear)(x), linear(x))


def test_the_operator_is_one_that_compilers_take(folder: Path) -> None:
    served = read_served(folder, {})
    way = served.route(torch.float32)
    name, seat = next(iter(way.seats.items()))
    place(name, Placed(seat, way.router))
    hidden = torch.randn(40, seat.module.a.shape[1])

    torch.library.opcheck(
        mixture,
        (hidden, hidden, name, seat.module.b.shape[1]),
        test_utils=("test_schema", "test_faketensor", "test_aot_dispatch_dynamic"),
    )
