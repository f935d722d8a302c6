"""Which requests may share a forward pass: those whose prompts are routed alike."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from torch import Tensor
from tqdm import tqdm

from routing.composed import ComposedModel
from routing.routes import Route, Routing

Request = TypeVar("Request")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Group:
    """The places of some requests in their list, and the one route of them all (None: the plain base)."""

    route: Route | None
    places: tuple[int, ...]


class Ways:
    """From a prompt to its route. Prompts alone decide, never what follows them.

    `routing` None is the plain base.
    """

    def __init__(self, model: ComposedModel, routing: Routing | None) -> None:
        self._model = model
        self._routing = routing
        self._common = None if routing is None else model.queries.route(routing, ())

    def groups(self, prompts: Sequence[Sequence[int] | None]) -> Iterator[Group]:
        """Sort the prompts by their routes; one that is None has nothing that could decide."""
        routes: dict[Hashable, Route | None] = {}
        places: dict[Hashable, list[int]] = {}
        seen: dict[tuple[int, ...] | None, Hashable] = {}
        for place, prompt in enumerate(prompts):
            tokens = None if prompt is None else tuple(prompt)
            if tokens not in seen:
                way = self.way(tokens)
                seen[tokens] = _signature(way)
                routes.setdefault(seen[tokens], way)
            places.setdefault(seen[tokens], []).append(place)
        for key, members in places.items():
            yield Group(routes[key], tuple(members))

    def way(self, prompt: tuple[int, ...] | None) -> Route | None:
        """How one prompt is routed."""
        if self._routing is None or prompt is None or self._routing.asked_prior is None:
            return self._common
        return self._model.way(prompt, self._routing)


def in_groups(
    requests: Sequence[Request],
    groups: Iterator[Group],
    answer: Callable[[Route | None, list[Request]], list[Result]],
    *,
    quiet: bool,
) -> list[Result]:
    """Answer group by group, with a bar unless `quiet`; the results come in the order of the requests."""
    results: dict[int, Result] = {}
    with tqdm(total=len(requests), desc="routed requests", disable=quiet) as bar:
        for group in groups:
            answers = answer(group.route, [requests[place] for place in group.places])
            results.update(zip(group.places, answers, strict=True))
            bar.update(len(answers))
    return [results[place] for place in range(len(requests))]


def _signature(way: Route | None) -> Hashable:
    """Equal for routes that treat every token alike."""
    if way is None:
        return None
    seats = tuple((name, *_values(seat.terms)) for name, seat in way.seats.items())
    return (id(way.pack), way.router, seats)


def _values(record: Any) -> Iterator[Hashable]:
    for field in fields(record):
        value = getattr(record, field.name)
        yield value.cpu().numpy().tobytes() if isinstance(value, Tensor) else value
