"""Making a pack ready for requests that subtract general knowledge: what takes a pass of the base for it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from routing.calibration import with_moments
from routing.general import Differences
from routing.pack import Pack
from routing.routed import RoutedModel
from routing.routers import READ_FACTORS
from routing.routes import Routing, judged, scores_calibrated
from routing.turns import ANYBODY, Asker

COST = 256.0  # of an amount that nobody has asked for lately, as of a prompt of so many tokens


def prepared(model: RoutedModel, pack: Pack, routing: Routing, asker: Asker = ANYBODY) -> Differences | None:
    """The differences that this routing looks at, their scores measured on neutral text if it needs that.

    Done once for each choice of general experts and amount, in the asker's turn; None if it looks at none.
    UnknownExpert for a name that is not in the pack, Left if the asker leaves before their turn.
    """
    if not routing.by_differences:
        return None
    turn = partial(asker.turn, COST)
    if not scores_calibrated(routing) or pack.text is None:
        return judged(pack, routing, turn)
    key = ("measured", routing.router in READ_FACTORS, *sorted(routing.general), routing.subtract)
    return pack.remembered.get(key, lambda: _measured(model, pack, routing), turn)


def _measured(model: RoutedModel, pack: Pack, routing: Routing) -> Differences:
    assert pack.text is not None
    assert pack.neutral is not None, "a pack with neutral text knows its digest"
    seen = replace(pack, modules=judged(pack, routing).modules, neutral=None)
    found = with_moments(model, seen, pack.text, neutral=pack.neutral)
    return Differences(found.modules, pack.neutral)
