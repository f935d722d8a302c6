"""Looking at how much an adapter is used: sums of what serving processes reported."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from django.db.models import Sum
from django.utils import timezone

from hub.adapters.models import Adapter
from hub.uses.models import DayOfUse, ExpertUse


@dataclass(frozen=True)
class Day:
    """Of all pairs of a token and a module on a day of its library, at how many an adapter was chosen."""

    day: date
    places: int
    of: int

    @property
    def share(self) -> float:
        return self.places / self.of if self.of else 0.0


def by_module(adapter: Adapter) -> ExpertUse | None:
    """Its release's sums in the newest index version that answered with it."""
    found = ExpertUse.objects.filter(release__adapter=adapter)
    return found.select_related("use__version", "release").order_by("-use__version__number").first()


def days(adapter: Adapter, count: int) -> Sequence[Day]:
    """The last days on which the library answered anybody, of at most so many, oldest first."""
    since = timezone.now().date() - timedelta(days=count - 1)
    recent = DayOfUse.objects.filter(day__gte=since, version__library=adapter.library_id).order_by()
    mine = recent.filter(release__adapter=adapter).values_list("day").annotate(places=Sum("places"))
    everything = recent.filter(release=None).values_list("day").annotate(places=Sum("places"))
    places = dict(mine)
    return [Day(day, places.get(day, 0), of) for day, of in sorted(everything)]
