"""The short list: the few experts that a whole prompt speaks for, found from the weights alone.

Arrow's score |v.x| says at each token and module how far an input lies along what an expert stretches most.
One such score is weak evidence; its mean over all tokens of a prompt and all modules of an expert is strong,
once each is measured in deviations from its mean on neutral text. Each token is then routed within the list.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from routing.pack import Pack, Route, Routing, Seat, route
from routing.routed import RoutedModel
from routing.routers import RoutingVectors, Selection, Terms

ROWS_AT_ONCE = 8  # of neutral text: bounds the scores that are held at a time
SMALLEST_DEVIATION = 1e-6


@dataclass(frozen=True)
class ModuleCalibration:
    """Mean and deviation of each expert's score on neutral text, at one module."""

    mean: Float[Tensor, " experts"]
    deviation: Float[Tensor, " experts"]


Calibration = Mapping[str, ModuleCalibration]


class Survey:
    """A way through a pack that adds nothing: the pass is the plain base's, and every score is seen."""

    def __init__(self, pack: Pack) -> None:
        seats = route(pack, Routing("arrow", top_k=1)).seats
        self.route = Route(pack, self._look, seats)
        self._scores: Float[Tensor, "tokens experts"] | None = None
        self.seen: dict[str, Float[Tensor, "tokens experts"]] = {}

    def witness(self, _seat: Seat, module: str, _selection: Selection) -> None:
        """Keep what the router just saw under the name of the module where it saw it."""
        if self._scores is not None:
            self.seen[module] = self._scores

    def _look(
        self, hidden: Float[Tensor, "tokens d_in"], vectors: RoutingVectors, _terms: Terms
    ) -> Selection:
        self._scores = (hidden.float() @ vectors.prototypes.T).abs_()
        nobody = torch.zeros(len(hidden), 0, device=hidden.device)
        return Selection(nobody.long(), nobody)


def calibrate(model: RoutedModel, pack: Pack, tokens: Int[Tensor, "sequences length"]) -> Calibration:
    """Mean and deviation of every expert's Arrow score on neutral text, in float64 sums."""
    sums: dict[str, tuple[Tensor, Tensor]] = {}
    for seen in _surveys(model, pack, tokens):
        for module, scores in seen.items():
            wide = scores.double()
            first, second = sums.get(module, (torch.zeros_like(wide[0]), torch.zeros_like(wide[0])))
            sums[module] = first + wide.sum(0), second + wide.square().sum(0)
    return {module: _moments(*both, count=tokens.numel()) for module, both in sums.items()}


def prompt_scores(
    model: RoutedModel, pack: Pack, calibration: Calibration, prompt: Int[Tensor, " tokens"]
) -> Float[Tensor, " experts"]:
    """For each expert of the pack, the mean over tokens and its modules of its score in deviations."""
    total = torch.zeros(len(pack.experts), device=model.base.device)
    modules = torch.zeros_like(total)
    for seen in _surveys(model, pack, prompt.unsqueeze(0)):
        for module, scores in seen.items():
            moments, members = calibration[module], pack.modules[module].member_ids
            total[members] += ((scores - moments.mean) / moments.deviation).mean(0)
            modules[members] += 1
    return torch.where(modules > 0, total / modules.clamp_min(1), -torch.inf)


def narrowed(
    model: RoutedModel, pack: Pack, calibration: Calibration, routing: Routing, prompt: Int[Tensor, " tokens"]
) -> Route:
    """The route of this prompt: among the `routing.shortlist` experts that it speaks for most."""
    scores = prompt_scores(model, pack, calibration, prompt)
    best = scores.argsort(descending=True, stable=True)[: routing.shortlist].tolist()
    return route(pack, replace(routing, experts=tuple(pack.experts[place] for place in best)))


def _surveys(model: RoutedModel, pack: Pack, tokens: Tensor) -> Iterator[Mapping[str, Tensor]]:
    for rows in tokens.split(ROWS_AT_ONCE):
        survey = Survey(pack)
        ids = rows.to(device=model.base.device, dtype=torch.int64)
        model.last_logits(ids, route=survey.route, witness=survey.witness)
        yield survey.seen


def _moments(first: Tensor, second: Tensor, *, count: int) -> ModuleCalibration:
    mean = first / count
    deviation = (second / count - mean.square()).clamp_min(0).sqrt().clamp_min(SMALLEST_DEVIATION)
    return ModuleCalibration(mean.float(), deviation.float())
