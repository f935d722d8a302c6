"""How much an expert is used, as its page shows it: by layer and module, and by day."""

from dataclasses import dataclass

from hub.adapters.models import Adapter
from hub.pages import charts, curves
from hub.uses import queries
from hub.uses.models import ExpertUse

DAYS = 30
FEWEST_DAYS = 2  # make a curve


@dataclass(frozen=True)
class Use:
    """Of all tokens in answers of its library: the share that chose it, drawn by module and by day.

    `share` is of all modules together, in the version that `heat` is about.
    """

    version: int
    release: int
    tokens: int
    share: float
    month: float | None
    heat: charts.HeatChart | None
    days: charts.LineChart | None


def of_adapter(adapter: Adapter) -> Use | None:
    """None before a serving process has reported anything of it. Three questions to the database."""
    found = queries.by_module(adapter)
    if found is None:
        return None
    days = queries.days(adapter, DAYS)
    places, of = sum(day.places for day in days), sum(day.of for day in days)
    labels = [curves.day_label(day.day) for day in days]
    lines = {"share of tokens": [day.share for day in days]}
    tokens = sum(found.use.tokens)
    return Use(
        version=found.use.version.number,
        release=found.release.number,
        tokens=tokens // max(1, len(found.use.modules)),
        share=sum(found.hits) / tokens if tokens else 0.0,
        month=places / of if of else None,
        heat=_heat(found),
        days=curves.curve(labels, lines, percent=True) if len(days) >= FEWEST_DAYS else None,
    )


def _heat(found: ExpertUse) -> charts.HeatChart | None:
    shares = {
        module: hits / tokens
        for module, hits, tokens in zip(found.use.modules, found.hits, found.use.tokens, strict=True)
        if tokens
    }
    return charts.by_layer(shares, percent=True)
