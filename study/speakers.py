"""Who spoke: the mean mixing weight of every expert at every module, task by task, as one method routes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor

from routing.routers import Selection
from routing.routes import Seat
from study.answers import Question, Voice, outcomes
from study.suite import Suite


@dataclass(frozen=True)
class Picture:
    """By task and module: each expert's mean weight per token, and the mean entropy of a token's weights."""

    experts: tuple[str, ...]
    modules: tuple[str, ...]
    shares: Mapping[str, Mapping[str, tuple[float, ...]]]
    entropy: Mapping[str, Mapping[str, float]]


class Speakers:
    """Adds up, over seeds, what a witness is shown."""

    def __init__(self, suite: Suite) -> None:
        self._names = tuple(sorted(suite.names))
        self._weights: dict[tuple[str, str], Float64[Tensor, " experts"]] = {}
        self._entropy: dict[tuple[str, str], float] = {}
        self._tokens: dict[tuple[str, str], int] = {}

    def listen(self, voice: Voice, asked: Sequence[Question]) -> None:
        """Let the method answer once more, and take note of every selection."""
        for name in dict.fromkeys(question.task.name for question in asked):
            mine = [question for question in asked if question.task.name == name]

            def note(seat: Seat, module: str, selection: Selection, name: str = name) -> None:
                self._note((name, module), seat, selection)

            outcomes(voice, mine, witness=note)

    def picture(self) -> Picture:
        """The means so far. A module where nobody had a seat counts as silent."""
        modules = tuple(dict.fromkeys(module for _, module in self._weights))
        tasks = tuple(dict.fromkeys(task for task, _ in self._weights))
        silent = (0.0,) * len(self._names)
        shares = {key: tuple((self._weights[key] / count).tolist()) for key, count in self._tokens.items()}
        entropy = {key: self._entropy[key] / count for key, count in self._tokens.items()}
        return Picture(
            self._names,
            modules,
            {task: {module: shares.get((task, module), silent) for module in modules} for task in tasks},
            {task: {module: entropy.get((task, module), 0.0) for module in modules} for task in tasks},
        )

    def _note(self, key: tuple[str, str], seat: Seat, selection: Selection) -> None:
        members = seat.module.member_ids[selection.experts].cpu().flatten()
        weights = selection.weights.double().cpu()
        total = torch.zeros(len(self._names), dtype=torch.float64)
        total.index_add_(0, members, weights.expand(selection.experts.shape).flatten())
        self._weights[key] = self._weights.get(key, torch.zeros_like(total)) + total
        self._entropy[key] = self._entropy.get(key, 0.0) + float(torch.special.entr(weights).sum())
        self._tokens[key] = self._tokens.get(key, 0) + len(selection.experts)
