"""Shares of neutral text: who would speak where nobody was asked, and when that is not plausible.

An uploaded vector can be made to win everywhere: along the mean hidden direction, say (RELIABILITY D2, D3).
Calibration takes most of that from it; what a maintainer must still see before it serves is a vector that
wins far more than its fair share of neutral text, or takes most of what another expert had (D5).
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from routing.base import Base
from routing.finding import Finding
from routing.pack import SMALLEST_DEVIATION, ModulePack, Moments, Update, pack_updates, standardised
from routing.prototypes import RoutingVector
from routing.scores import SCORES, evidence

Vectors = Mapping[str, RoutingVector]

MOST_TIMES_FAIR = 3.0
ALWAYS_PLAUSIBLE = 0.3
# Among fewer, three times the fair share is everything.
FEWEST_EXPERTS = 4
# An expert that had less than this of the text has nothing worth guarding, only noise to lose.
WORTH_GUARDING = 0.02
SEQUENCES = 16
CHECK = "share"
WAYS = {
    "arrow": "where prototypes are compared as they are",
    "gate": "where gates are compared as they are",
    "evidence": "where all are compared in deviations",
}


@dataclass(frozen=True)
class Shares:
    """By expert: which part of all (token, module) pairs it wins, and which it would win by lot."""

    taken: Mapping[str, float]
    fair: Mapping[str, float]


@torch.inference_mode()
def neutral_shares(
    base: Base, experts: Mapping[str, Vectors], tokens: Int[Tensor, "sequences length"]
) -> dict[str, Shares]:
    """For each way of comparing (`WAYS`), the shares of these experts in a text that the plain base reads.

    Moments are taken on the same text, in the same pass.
    """
    names = sorted(experts)
    taken = {way: defaultdict[str, float](float) for way in WAYS}
    fair = {way: defaultdict[str, float](float) for way in WAYS}

    def look(module: ModulePack, hidden: Float[Tensor, "tokens d_in"]) -> None:
        for way, scores in _contests(module, hidden).items():
            able = scores.isfinite().any(0)
            if not bool(able.any()):
                continue
            wins = torch.bincount(scores.nan_to_num(nan=-torch.inf).argmax(-1), minlength=len(module))
            for row, member in enumerate(module.members):
                taken[way][names[member]] += int(wins[row])
                fair[way][names[member]] += len(hidden) * float(able[row]) / int(able.sum())

    ids = tokens.to(device=base.device, dtype=torch.int64)
    with _watched(base, _recognition([experts[name] for name in names], base.device), look):
        base.model.base_model(**base.family.neutral(base.model, ids))
    return {way: _normalised(taken[way], fair[way]) for way in WAYS if fair[way]}


def doubts_about(
    newcomer: str, before: Mapping[str, Shares], after: Mapping[str, Shares]
) -> Iterator[Finding]:
    """Why a maintainer should look at `newcomer` before it serves; nothing for a plausible one.

    An older expert may lose what a fair newcomer takes from everybody, and half of the rest.
    """
    for way, shares in after.items():
        share, fair = shares.taken.get(newcomer, 0.0), shares.fair.get(newcomer, 0.0)
        most = max(MOST_TIMES_FAIR * fair, ALWAYS_PLAUSIBLE)
        if share > most:
            yield _doubt(f"{share:.2f} of neutral text {WAYS[way]}", f"at most {most:.2f} (fair: {fair:.2f})")
        if way in before:
            yield from _losses(newcomer, before[way], shares, WAYS[way])


def _losses(newcomer: str, before: Shares, after: Shares, way: str) -> Iterator[Finding]:
    for name, had in before.taken.items():
        left = had * after.fair.get(name, 0.0) / before.fair[name] if before.fair[name] else 0.0
        has = after.taken.get(name, 0.0)
        if name != newcomer and left > WORTH_GUARDING and has < left / 2:
            yield _doubt(f"{name} keeps {has:.2f} of neutral text {way}", f"at least {left / 2:.2f}")


def _doubt(found: str, expected: str) -> Finding:
    fix = "A maintainer decides: vectors of a common direction of all text would answer for everybody."
    return Finding(CHECK, "warning", "routing vectors", "", found, expected, fix)


def _contests(module: ModulePack, hidden: Float[Tensor, "tokens d_in"]) -> dict[str, Tensor]:
    """The scores [tokens, experts] by way of comparing."""
    raw = {kind: SCORES[kind](hidden, module) for kind in ("arrow", "gate")}
    moments = {kind: _moments(scores) for kind, scores in raw.items()}
    return {**raw, "evidence": evidence(hidden, replace(module, moments=moments))}


def _moments(scores: Float[Tensor, "tokens experts"]) -> Moments:
    deviation = scores.std(0, correction=0).clamp_min(SMALLEST_DEVIATION)
    return Moments(scores.mean(0), deviation)


def _recognition(experts: list[Vectors], device: torch.device) -> Mapping[str, ModulePack]:
    """What experts are recognised by, without what they do."""

    def update(vector: RoutingVector) -> Update:
        prototype = vector.prototype.to(device, torch.float32)
        gate = None if vector.gate is None else standardised(vector.gate.float()).to(device)
        return Update(prototype, prototype.new_zeros(0, len(prototype)), prototype.new_zeros(0, 1), gate)

    return pack_updates([{name: update(vector) for name, vector in vectors.items()} for vectors in experts])


@contextlib.contextmanager
def _watched(base: Base, modules: Mapping[str, ModulePack], look: Any) -> Iterator[None]:
    with contextlib.ExitStack() as hooks:
        for name, module in modules.items():

            def see(_layer: Any, inputs: tuple[Tensor], module: ModulePack = module) -> None:
                look(module, inputs[0].flatten(0, -2).float())

            hooks.callback(base.model.get_submodule(name).register_forward_pre_hook(see).remove)
        yield


def _normalised(taken: Mapping[str, float], fair: Mapping[str, float]) -> Shares:
    total = sum(taken.values()) or 1.0
    return Shares(
        {name: count / total for name, count in taken.items()},
        {name: count / total for name, count in fair.items()},
    )
