"""Making a pack ready for requests that subtract general knowledge: what takes a pass of the base for it."""

from __future__ import annotations

from dataclasses import replace

from routing.calibration import with_moments
from routing.general import Differences, differences, remember
from routing.pack import Pack
from routing.routed import RoutedModel
from routing.routes import Routing, scores_calibrated


def prepare(model: RoutedModel, pack: Pack, routing: Routing) -> None:
    """Work out the differences that this routing needs, and measure their scores on neutral text if it does.

    Done once for each choice of general experts and amount; UnknownExpert for a name not in the pack.
    """
    if not routing.by_differences:
        return
    found = differences(pack, routing.general, routing.subtract)
    if not scores_calibrated(routing) or found.neutral == pack.neutral or pack.text is None:
        return
    assert pack.neutral is not None, "a pack with neutral text knows its digest"
    judged = replace(pack, modules=found.modules, neutral=None)
    measured = with_moments(model, judged, pack.text, neutral=pack.neutral)
    remember(pack, routing.general, routing.subtract, Differences(measured.modules, pack.neutral))
