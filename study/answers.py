"""How well one way of routing answers questions: exactly, and with what loss, from one pass each.

An answer decoded greedily is exactly the right one if and only if, with the right answer before it, each of
its tokens is the likeliest. So no answer is generated: one pass tells, and gives the loss as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import torch
from jaxtyping import Float
from torch import Tensor

from routing.composed import ComposedModel
from routing.layers import Witness
from routing.routes import Route, Routing
from routing.rows import encoded_row
from study.suite import Suite, Task, read_rows

AT_ONCE = 16


@dataclass(frozen=True)
class Question:
    """A prompt and its right answer, in the base's tokens."""

    task: Task
    prompt: tuple[int, ...]
    completion: tuple[int, ...]


@dataclass(frozen=True)
class Outcome:
    """Whether the answer was exactly right, and its loss in nats per token of the right answer."""

    exact: float
    loss: float


@dataclass(frozen=True)
class Voice:
    """A composed model, and how one method routes it; a routing of None is the plain base."""

    model: ComposedModel
    routing: Routing | None


def questions(suite: Suite, task: Task, seed: int, model: ComposedModel) -> list[Question]:
    """This seed's sample of a task's questions, the same for every method."""
    rows = read_rows(task.rows)
    drawn = Random(f"{seed} {task.name}").sample(rows, min(suite.questions, len(rows)))
    encoded = (encoded_row(model.routed.base, row) for row in drawn)
    return [Question(task, tuple(prompt), tuple(completion)) for prompt, completion in encoded]


def outcomes(voice: Voice, asked: Sequence[Question], *, witness: Witness | None = None) -> list[Outcome]:
    """Every question's outcome, in order; `witness` is told of each selection."""
    if voice.routing is not None and depends_on_prompt(voice.routing):
        return [
            outcome
            for question in asked
            for outcome in _passed(
                voice, [question], voice.model.way(question.prompt, voice.routing), witness
            )
        ]
    way = None if voice.routing is None else voice.model.way((), voice.routing)
    shortest_first = sorted(range(len(asked)), key=lambda place: _length(asked[place]))
    found: dict[int, Outcome] = {}
    for start in range(0, len(asked), AT_ONCE):
        places = shortest_first[start : start + AT_ONCE]
        found |= zip(places, _passed(voice, [asked[place] for place in places], way, witness), strict=True)
    return [found[place] for place in range(len(asked))]


def depends_on_prompt(routing: Routing) -> bool:
    """Whether each prompt has a route of its own, so that prompts cannot share a pass."""
    return routing.asked_prior is not None


def _length(question: Question) -> int:
    return len(question.prompt) + len(question.completion)


def _passed(
    voice: Voice, asked: Sequence[Question], way: Route | None, witness: Witness | None
) -> list[Outcome]:
    """One pass over some questions; padding stands on the right, where nothing looks back from."""
    width = max(map(_length, asked))
    ids = torch.zeros(len(asked), width, dtype=torch.int64)
    for row, question in enumerate(asked):
        ids[row, : _length(question)] = torch.tensor([*question.prompt, *question.completion])
    routed = voice.model.routed
    logits = routed.logits(ids.to(routed.base.device), route=way, witness=witness)
    return [_outcome(logits[row], question) for row, question in enumerate(asked)]


def _outcome(logits: Float[Tensor, "tokens vocabulary"], question: Question) -> Outcome:
    right = torch.tensor(question.completion, device=logits.device)
    before = logits[len(question.prompt) - 1 : _length(question) - 1]
    loss = torch.nn.functional.cross_entropy(before, right)
    return Outcome(float((before.argmax(-1) == right).all()), float(loss))
