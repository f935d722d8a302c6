"""The short list: the few experts that a whole prompt speaks for, found from the routing vectors alone.

A score says at each token and module what an expert has to do with the input. One such score is weak
evidence; its mean over all tokens of a prompt and all modules of an expert is strong, once each is measured
in deviations from its mean on neutral text. Each token is then routed within the list.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from routing.calibration import survey
from routing.pack import ModulePack, Pack
from routing.routed import RoutedModel
from routing.routes import Route, Routing, route
from routing.scores import evidence


def prompt_scores(
    model: RoutedModel, pack: Pack, prompt: Int[Tensor, " tokens"]
) -> Float[Tensor, " experts"]:
    """For each expert of the pack, the mean over tokens and its modules of its score in deviations."""
    total = torch.zeros(len(pack.experts), device=model.base.device)
    modules = torch.zeros_like(total)

    def look(_name: str, hidden: Tensor, module: ModulePack) -> None:
        total[module.member_ids] += evidence(hidden, module).mean(0)
        modules[module.member_ids] += 1

    survey(model, pack, prompt.unsqueeze(0), look)
    return torch.where(modules > 0, total / modules.clamp_min(1), -torch.inf)


def narrowed(model: RoutedModel, pack: Pack, routing: Routing, prompt: Int[Tensor, " tokens"]) -> Route:
    """The route of this prompt: among the `routing.shortlist` experts that it speaks for most."""
    scores = prompt_scores(model, pack, prompt)
    best = scores.argsort(descending=True, stable=True)[: routing.shortlist].tolist()
    return route(pack, replace(routing, experts=tuple(pack.experts[place] for place in best), shortlist=0))
