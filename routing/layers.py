"""The routed layer: a target module of the base, to whose output the chosen experts add their updates."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import torch
from accelerate.utils import align_module_device
from jaxtyping import Float
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from routing import compiled
from routing.compiled import usable
from routing.few_tokens import FEW, add_arrow, choose_arrow
from routing.mixing import add_mixture, add_scaled
from routing.pack import ModulePack
from routing.panels import PanelLinear
from routing.relaid import Relaid
from routing.routers import Selection
from routing.routes import Route, Seat
from routing.trusted import WITHDRAWN

Witness = Callable[[Seat, str, Selection], None]


EVERYTHING = slice(None)


@dataclass(frozen=True)
class Crowd:
    """Neighbouring tokens of a pass that are routed alike, of one answer or several, and who is told.

    Where `said` tells by module what each of them chooses, the route only says where experts are.
    """

    route: Route
    tokens: slice
    witness: Witness | None = None
    said: Mapping[str, Selection] | None = None


@dataclass(frozen=True)
class Chosen:
    """What a crowd's tokens chose at one module."""

    tokens: slice
    seat: Seat
    selection: Selection


# Layers lie deep inside a model that knows nothing of routing, so a pass reaches them around it.
# A context variable keeps passes in other threads and tasks apart.
_CROWDS: ContextVar[Sequence[Crowd]] = ContextVar("crowds", default=())


@contextmanager
def routed_by(route: Route | None, witness: Witness | None = None) -> Iterator[None]:
    """Route every forward pass inside by `route`; None is the plain base."""
    with crowded([] if route is None else [Crowd(route, EVERYTHING, witness)]):
        yield


@contextmanager
def crowded(crowds: Sequence[Crowd]) -> Iterator[None]:
    """Route the tokens of a forward pass crowd by crowd; those in no crowd keep the plain base."""
    token = _CROWDS.set(crowds)
    try:
        yield
    finally:
        _CROWDS.reset(token)


class RoutedLinear(nn.Module):
    """base(x) + the sum over the chosen experts of weight * dW x, per token; outside `routed_by` the base."""

    def __init__(self, name: str, base_layer: nn.Linear | Conv1D | Relaid) -> None:
        super().__init__()
        self.name = name
        self.base_layer = base_layer

    @property
    def weight(self) -> Tensor:
        """The base layer's weight: some architectures look at its dtype."""
        return self.base_layer.weight

    @property
    def bias(self) -> Tensor | None:
        """The base layer's bias."""
        return self.base_layer.bias

    def forward(self, x: Float[Tensor, "*tokens d_in"]) -> Float[Tensor, "*tokens d_out"]:
        crowds = _CROWDS.get()
        if len(crowds) == 1 and (done := self._in_one_go(crowds[0], x)) is not None:
            return done
        output: Tensor = self.base_layer(x)
        if not crowds:
            return output
        hidden, rows = x.reshape(-1, x.shape[-1]), output.view(-1, output.shape[-1])
        choices = []
        for crowd in crowds:
            seat = crowd.route.seats.get(self.name)
            if seat is None:
                continue
            selection, added = self._routed(crowd, seat, rows, hidden)
            if crowd.witness is not None:
                crowd.witness(seat, self.name, selection)
            if not added:
                choices.append(Chosen(crowd.tokens, seat, selection))
        for chosen in together(choices):
            self._add(rows[chosen.tokens], hidden[chosen.tokens], chosen)
        return output

    def _in_one_go(
        self, crowd: Crowd, x: Float[Tensor, "*tokens d_in"]
    ) -> Float[Tensor, "*tokens d_out"] | None:
        """What `forward` gives, of a few tokens that are routed alike on a CPU; None: these are others.

        While answers are written a layer is gone through for one token of each, after as much of the weights
        as fits into the caches: what Python looks at then has to come from memory, so it looks at little.
        """
        base = self._modules["base_layer"]
        if type(base) is not PanelLinear or crowd.said is not None or WITHDRAWN or not usable(x):
            return None
        add = crowd.route.at_once.get(self.name)
        if add is None:
            return None
        hidden = x.numpy().reshape(-1, x.shape[-1])
        tokens = len(hidden)
        if tokens > FEW or crowd.tokens.indices(tokens) != (0, tokens, 1):
            return None
        output = base.product(hidden)
        try:
            chosen = add(output, hidden)
        except Exception as error:  # noqa: BLE001 - whatever a compiler may say; torch does it then
            compiled.give_up(error)
            return None
        if crowd.witness is not None:
            experts, weights = map(torch.from_numpy, chosen)
            crowd.witness(crowd.route.seats[self.name], self.name, Selection(experts, weights))
        return torch.from_numpy(output.reshape(*x.shape[:-1], base.d_out))

    def _routed(
        self, crowd: Crowd, seat: Seat, rows: Float[Tensor, "all d_out"], hidden: Float[Tensor, "all d_in"]
    ) -> tuple[Selection, bool]:
        """What a crowd's tokens choose, and whether it is added to their rows of the output already."""
        if crowd.said is not None:
            return crowd.said[self.name], False
        start, stop, _ = crowd.tokens.indices(hidden.shape[0])
        if (fixed := crowd.route.settled.get(self.name)) is not None:
            return _of_each(fixed, stop - start), False
        everyone = stop - start == hidden.shape[0]
        mine, its = (hidden, rows) if everyone else (hidden[crowd.tokens], rows[crowd.tokens])
        router = crowd.route.router
        if (done := add_arrow(its, mine, router, seat)) is not None:
            return done, True
        return choose_arrow(mine, router, seat) or seat.select(router, mine), False

    def _add(
        self, rows: Float[Tensor, "tokens d_out"], hidden: Float[Tensor, "tokens d_in"], chosen: Chosen
    ) -> None:
        """Add what the chosen experts make of these tokens to their rows of the output."""
        seat, selection = chosen.seat, chosen.selection
        if seat.module.scaled is not None:
            add_scaled(rows, hidden, selection, seat.module.scaled, self._matrix())
        if hidden.dtype == seat.module.a.dtype:
            add_mixture(rows, hidden, selection, seat.module)
        else:
            rows += _in_dtype_of_experts(hidden, selection, seat.module)
        if seat.shared is not None:
            seat.shared.add(rows, hidden, selection.weights)

    def _matrix(self) -> Float[Tensor, "d_out d_in"]:
        """The base layer's weight as mathematics has it: Conv1D keeps the transpose."""
        layer = self.base_layer
        transposed = isinstance(layer, Conv1D) or (isinstance(layer, Relaid) and layer.transposed)
        with align_module_device(layer):  # of a spread base it may lie in a file
            weight = layer.weight
        return weight.T if transposed else weight


def _of_each(selection: Selection, tokens: int) -> Selection:
    """One choice as that of so many tokens."""
    if tokens == 1:
        return selection
    return Selection(selection.experts.expand(tokens, -1), selection.weights.expand(tokens, -1))


def together(choices: Sequence[Chosen]) -> Iterator[Chosen]:
    """Neighbours that are mixed from the same tensors, each token from as many experts, as one."""
    group: list[Chosen] = []
    for chosen in choices:
        if group and not _joins(group[-1], chosen):
            yield _joined(group)
            group = []
        group.append(chosen)
    if group:
        yield _joined(group)


def _joins(before: Chosen, chosen: Chosen) -> bool:
    return (
        before.tokens.stop == chosen.tokens.start
        and before.seat.module is chosen.seat.module
        and before.seat.shared is chosen.seat.shared
        and before.selection.experts.shape[1] == chosen.selection.experts.shape[1]
    )


def _joined(group: Sequence[Chosen]) -> Chosen:
    if len(group) == 1:
        return group[0]
    experts = torch.cat([chosen.selection.experts for chosen in group])
    weights = torch.cat([chosen.selection.weights for chosen in group])
    tokens = slice(group[0].tokens.start, group[-1].tokens.stop)
    return Chosen(tokens, group[0].seat, Selection(experts, weights))


def _in_dtype_of_experts(
    hidden: Float[Tensor, "tokens d_in"], selection: Selection, experts: ModulePack
) -> Float[Tensor, "tokens d_out"]:
    """The mixture alone, where a base keeps a layer in another dtype than the rest (T5: `wo` in float32)."""
    mixture = experts.b.new_zeros(len(hidden), experts.b.shape[1])
    add_mixture(mixture, hidden.to(experts.a.dtype), selection, experts)
    return mixture
