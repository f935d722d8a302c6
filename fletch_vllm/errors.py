"""What vLLM cannot serve: everything that is in the way at once, and what to do instead."""

from __future__ import annotations

from collections.abc import Sequence

from routing.errors import RoutingError


class NotServable(RoutingError):
    """This checkpoint, routed in this way, is nothing that vLLM can serve; `reasons` says all of them."""

    def __init__(self, reasons: Sequence[str]) -> None:
        super().__init__("vLLM cannot serve this:\n" + "\n".join(f"- {reason}" for reason in reasons))
        self.reasons = tuple(reasons)
