"""The routed layer: a target module of the base, to whose output the chosen experts add their updates."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from routing.mixing import add_mixture, add_scaled
from routing.pack import ModulePack
from routing.routers import Selection
from routing.routes import Route, Seat

Witness = Callable[[Seat, str, Selection], None]


@dataclass(frozen=True)
class Passage:
    """What one forward pass is routed by, and who is told of every selection in it."""

    route: Route
    witness: Witness | None


# Layers lie deep inside a model that knows nothing of routing, so a pass reaches them around it.
# A context variable keeps passes in other threads and tasks apart.
_PASSAGE: ContextVar[Passage | None] = ContextVar("passage", default=None)


@contextmanager
def routed_by(route: Route | None, witness: Witness | None = None) -> Iterator[None]:
    """Route every forward pass inside by `route`; None is the plain base."""
    token = _PASSAGE.set(None if route is None else Passage(route, witness))
    try:
        yield
    finally:
        _PASSAGE.reset(token)


class RoutedLinear(nn.Module):
    """base(x) + the sum over the chosen experts of weight * dW x, per token; outside `routed_by` the base."""

    def __init__(self, name: str, base_layer: nn.Linear | Conv1D) -> None:
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
        output: Tensor = self.base_layer(x)
        passage = _PASSAGE.get()
        seat = None if passage is None else passage.route.seats.get(self.name)
        if passage is None or seat is None:
            return output
        hidden = x.reshape(-1, x.shape[-1])
        selection = seat.select(passage.route.router, hidden)
        if passage.witness is not None:
            passage.witness(seat, self.name, selection)
        rows = output.view(-1, output.shape[-1])
        if seat.module.scaled is not None:
            add_scaled(rows, hidden, selection, seat.module.scaled, self._matrix())
        if hidden.dtype == seat.module.a.dtype:
            add_mixture(rows, hidden, selection, seat.module)
        else:
            rows += _in_dtype_of_experts(hidden, selection, seat.module)
        if seat.shared is not None:
            seat.shared.add(rows, hidden, selection.weights)
        return output

    def _matrix(self) -> Float[Tensor, "d_out d_in"]:
        """The base layer's weight as mathematics has it: Conv1D keeps the transpose."""
        return self.base_layer.weight.T if isinstance(self.base_layer, Conv1D) else self.base_layer.weight


def _in_dtype_of_experts(
    hidden: Float[Tensor, "tokens d_in"], selection: Selection, experts: ModulePack
) -> Float[Tensor, "tokens d_out"]:
    """The mixture alone, where a base keeps a layer in another dtype than the rest (T5: `wo` in float32)."""
    mixture = experts.b.new_zeros(len(hidden), experts.b.shape[1])
    add_mixture(mixture, hidden.to(experts.a.dtype), selection, experts)
    return mixture
