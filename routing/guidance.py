"""Guides: what an answer may go on with, where somebody prescribed its form."""

from __future__ import annotations

from typing import Protocol

from jaxtyping import Bool
from torch import Tensor

from routing.errors import RoutingError


class GuideLost(RoutingError):
    """No token of the base's vocabulary can continue this answer in the form that was prescribed."""


class Guide(Protocol):
    """Follows one answer token by token. It prescribes a form; likelihoods stay the model's own."""

    @property
    def complete(self) -> bool:
        """Whether the answer is whole and nothing may follow it."""

    def allowed(self) -> Bool[Tensor, " vocabulary"]:
        """The tokens that may come next, those that end an answer among them; GuideLost if none may."""

    def hear(self, token: int) -> None:
        """Go on behind a token that was allowed; GuideLost if the form is too much to follow."""
