"""A module that is gone through in one go, in panels on a CPU, says what it says in the general way."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from routing.few_tokens import FEW, FEW_CHOSEN
from routing.layers import Crowd, RoutedLinear, crowded
from routing.pack import Pack
from routing.panels import PanelLinear
from routing.routers import Selection
from routing.routes import Route, Routing, Seat, route
from tests.routing.test_mixing import D_IN, D_OUT, module_pack

EXPERTS = 70  # so many that they have a sketch
NAMES = tuple(f"ada/{place}" for place in range(EXPERTS))
WAYS = {
    "arrow": Routing("arrow", top_k=2),
    "one expert": Routing("arrow", top_k=1, experts=NAMES[3:4]),
    "a few alike": Routing("uniform", top_k=1, experts=NAMES[:FEW_CHOSEN]),
    "everybody alike": Routing("uniform", top_k=1),
}


@pytest.fixture(autouse=True)
def nobody_learns() -> Iterator[None]:
    with torch.inference_mode():
        yield


@pytest.fixture
def layer() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(D_IN, D_OUT)


def way_of(name: str) -> Route:
    return route(Pack(NAMES, {"m": module_pack([1 + place % 5 for place in range(EXPERTS)])}), WAYS[name])


def said(
    base: nn.Linear | PanelLinear, x: torch.Tensor, way: Route, tokens: slice
) -> tuple[torch.Tensor, list[Selection]]:
    told: list[Selection] = []

    def witness(_seat: Seat, _name: str, selection: Selection) -> None:
        told.append(selection)

    with crowded([Crowd(way, tokens, witness)]):
        return RoutedLinear("m", base)(x), told


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("shape", [(1, 1), (1, FEW), (1, FEW + 1), (3, 2), (5,), (1, 0)])
def test_it_is_what_the_general_way_says(layer: nn.Linear, way: str, shape: tuple[int, ...]) -> None:
    x = torch.randn(*shape, D_IN)

    output, chosen = said(PanelLinear(layer), x, way_of(way), slice(None))

    expected, wanted = said(layer, x, way_of(way), slice(None))
    torch.testing.assert_close(output, expected, atol=1e-5, rtol=1e-5)
    [mine], [its] = chosen, wanted
    assert torch.equal(mine.experts, its.experts)
    torch.testing.assert_close(mine.weights, its.weights, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("way", WAYS)
def test_tokens_in_no_crowd_keep_the_base(layer: nn.Linear, way: str) -> None:
    x = torch.randn(1, 6, D_IN)

    output, _ = said(PanelLinear(layer), x, way_of(way), slice(2, 4))

    expected, _ = said(layer, x, way_of(way), slice(2, 4))
    torch.testing.assert_close(output, expected, atol=1e-5, rtol=1e-5)
    assert torch.equal(output[0, 4:], PanelLinear(layer)(x)[0, 4:])


def test_only_few_are_mixed_pair_by_pair() -> None:
    assert {name: bool(way_of(name).at_once) for name in WAYS} == {
        "arrow": True,
        "one expert": True,
        "a few alike": True,
        "everybody alike": False,
    }
