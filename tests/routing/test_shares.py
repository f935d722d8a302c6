"""Vectors that would answer for everybody are found before they serve (RELIABILITY D2 to D5)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import Tensor

from demo.tasks import BASE, TASKS
from routing.adapter import read_adapter
from routing.base import Base, load_base
from routing.factors import expert_factors
from routing.neutral import neutral_tokens
from routing.prototypes import RoutingVector, routing_vectors
from routing.shares import Shares, doubts_about, neutral_shares
from routing.spec import BaseRef

Vectors = dict[str, RoutingVector]
HONEST = TASKS[:5]
SIXTH = TASKS[9]


@cache
def base() -> Base:
    return load_base(BaseRef(str(BASE)))


@cache
def text() -> Tensor:
    return neutral_tokens(base(), sequences=12, length=48, seed=3)


@cache
def mean_inputs() -> dict[str, Tensor]:
    """The mean hidden state at each target module on neutral text that the check does not use."""
    sums: dict[str, Tensor] = {}
    other = neutral_tokens(base(), sequences=12, length=48, seed=4).long()
    hooks = [
        base()
        .model.get_submodule(module.name)
        .register_forward_pre_hook(
            lambda _layer, inputs, name=module.name: sums.__setitem__(name, inputs[0].flatten(0, -2).mean(0))
        )
        for module in base().spec.target_modules
    ]
    with torch.no_grad():
        base().model(other)
    for hook in hooks:
        hook.remove()
    return sums


def of(task: object) -> Vectors:
    """An honest expert: its prototypes, and as gates the means of its inputs' contrast with neutral text."""
    return routing_vectors(expert_factors(read_adapter(task.adapter_directory, base().spec)))  # type: ignore[attr-defined]


@cache
def honest() -> Mapping[str, Vectors]:
    return {task.adapter: gated(of(task), 0) for task in HONEST}


def gated(vectors: Vectors, seed: int) -> Vectors:
    """With gates along its prototypes, as training mostly turns them."""
    draw = torch.Generator().manual_seed(seed)

    def gate(prototype: Tensor) -> Tensor:
        return prototype + 0.1 * torch.randn(prototype.shape, generator=draw)

    return {name: replace(vector, gate=gate(vector.prototype)) for name, vector in vectors.items()}


def everywhere(vector: Callable[[str, Tensor], RoutingVector]) -> Vectors:
    return {name: vector(name, mean) for name, mean in mean_inputs().items()}


def along_the_mean(_name: str, mean: Tensor) -> RoutingVector:
    return RoutingVector(torch.nn.functional.normalize(mean, dim=0), torch.ones(1))


def gate_along_the_mean(_name: str, mean: Tensor) -> RoutingVector:
    draw = torch.Generator().manual_seed(len(mean))
    prototype = torch.nn.functional.normalize(torch.randn(len(mean), generator=draw), dim=0)
    return RoutingVector(prototype, torch.ones(1), 1000 * mean)


def judged(newcomer: Vectors) -> tuple[list[str], dict[str, Shares]]:
    """(what is doubted, the shares with the newcomer)."""
    before = neutral_shares(base(), honest(), text())
    after = neutral_shares(base(), {**honest(), "eve/new": newcomer}, text())
    return [finding.found for finding in doubts_about("eve/new", before, after)], after


@pytest.mark.parametrize("attack", [along_the_mean, gate_along_the_mean])
def test_a_vector_along_the_mean_hidden_direction_is_held_and_calibration_disarms_it(
    attack: Callable[[str, Tensor], RoutingVector],
) -> None:
    doubts, shares = judged(everywhere(attack))

    way = "gate" if attack is gate_along_the_mean else "arrow"
    assert doubts
    assert shares[way].taken["eve/new"] > 2 * shares[way].fair["eve/new"]
    assert shares["evidence"].taken["eve/new"] <= 2 * shares["evidence"].fair["eve/new"]


def test_an_inflated_gate_gains_nothing() -> None:
    plain = gated(of(SIXTH), 1)
    inflated = {
        name: replace(vector, gate=None if vector.gate is None else 1000 * vector.gate)
        for name, vector in plain.items()
    }

    as_it_is, larger = judged(plain), judged(inflated)

    assert larger[0] == as_it_is[0] == []
    for way, shares in larger[1].items():
        assert shares.taken["eve/new"] == pytest.approx(as_it_is[1][way].taken["eve/new"], abs=1e-3)
        assert shares.taken["eve/new"] <= 2 * shares.fair["eve/new"]


def test_an_honest_sixth_expert_passes() -> None:
    doubts, shares = judged(of(SIXTH))

    assert doubts == []
    assert shares["evidence"].taken["eve/new"] <= 2 * shares["evidence"].fair["eve/new"]


def test_shares_are_counted_as_by_hand() -> None:
    """At each module every token's best score wins; who is alone in a contest has it by lot and in fact."""
    pair = {task.adapter: of(task) for task in HONEST[:2]}
    ids = text()[:2]
    seen: dict[str, Tensor] = {}
    hooks = [
        base()
        .model.get_submodule(name)
        .register_forward_pre_hook(
            lambda _layer, inputs, name=name: seen.__setitem__(name, inputs[0].flatten(0, -2))
        )
        for name in {**pair[HONEST[0].adapter], **pair[HONEST[1].adapter]}
    ]
    with torch.no_grad():
        base().model(ids.long())
    for hook in hooks:
        hook.remove()
    wins, total = dict.fromkeys(pair, 0), 0
    for name, hidden in seen.items():
        present = [adapter for adapter in sorted(pair) if name in pair[adapter]]
        scores = torch.stack([(hidden @ pair[adapter][name].prototype).abs() for adapter in present])
        for winner in scores.argmax(0).tolist():
            wins[present[winner]] += 1
        total += len(hidden)

    shares = neutral_shares(base(), pair, ids)["arrow"]

    assert shares.taken == pytest.approx({name: count / total for name, count in wins.items()}, abs=2e-3)
    assert sum(shares.fair.values()) == pytest.approx(1.0)


def test_an_older_expert_that_loses_its_place_is_named() -> None:
    before = {"arrow": Shares({"a": 0.5, "b": 0.5}, {"a": 0.5, "b": 0.5})}
    fair = {"a": 0.33, "b": 0.33, "new": 0.34}
    ways = {"fair": {"a": 0.33, "b": 0.33, "new": 0.34}, "thief": {"a": 0.05, "b": 0.45, "new": 0.5}}

    found = {
        name: [finding.found for finding in doubts_about("new", before, {"arrow": Shares(taken, fair)})]
        for name, taken in ways.items()
    }

    assert found["fair"] == []
    assert found["thief"] == ["a keeps 0.05 of neutral text where prototypes are compared as they are"]
