"""What the log says of the layouts that a base's layers were given."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from routing import layouts
from routing.laying_out import Laid
from routing.layout_trial import TOKENS, Trial


def laid_in_words(laid: Sequence[Laid]) -> Iterator[str]:
    """A line for each kind of layer, and where trials decided what would pin all that they decided."""
    for one in laid:
        counts = ", ".join(f"{count} {layout}" for layout, count in one.layouts.items())
        why = "as --weights says" if one.trial is None else _times(one.trial)
        yield f"weights of {one.kind.shape} (outputs x inputs): {counts}; {why}"
    if any(one.trial is not None for one in laid):
        plainest_first = sorted(laid, key=lambda one: layouts.LAYOUTS.index(one.layout))
        taken = layouts.said({one.kind.shape: one.layout for one in plainest_first})
        yield f"`--weights {taken}` lays them out so without a trial"


def _times(trial: Trial) -> str:
    """The trial's milliseconds, by number of tokens."""
    parts = []
    for place, tokens in enumerate(TOKENS):
        each = ", ".join(f"{layout} {times[place] * 1e3:.3g}" for layout, times in trial.seconds.items())
        parts.append(f"{tokens} token{'s'[: tokens > 1]} {each} ms")
    return "; ".join(parts)
