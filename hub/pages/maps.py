"""The map of a library's experts as templates draw it: the closer two, the more alike their updates."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.core.paginator import Page, Paginator
from django.db.models import QuerySet
from django.http import HttpRequest

from hub.adapters.models import Adapter, Release
from hub.adapters.permissions import visible_adapters
from hub.clusters import queries as clusters
from hub.clusters.models import Clustering, Placement
from hub.errors import NotFound
from hub.library.models import Library
from hub.library.permissions import Visitor
from hub.pages import labels
from hub.pages.labels import Label

WIDTH, HEIGHT, EDGE = 720.0, 440.0, 24.0
COLOURS = 7
MOST_NAMED = 600  # dots that are links with a name; of more, those of one cluster at a time
MOST_STOPS = 100  # links of the map that the keyboard stops at; more are reached by the table below it
MOST_MARKS = 24
FEW = 40  # whose names are written beside their dots, where there is room
A_PAGE = 50


@dataclass(frozen=True)
class Place:
    """Where an expert lies, as a worker computed it."""

    pk: int
    cluster: int
    x: float
    y: float


@dataclass(frozen=True)
class Dot:
    """An expert with its name, which is written where there is room, and else when it is pointed at."""

    x: float
    y: float
    cluster: int
    colour: int
    owner: str
    name: str
    label: Label


@dataclass(frozen=True)
class Crowd:
    """Experts of one cluster without their names: one path of points."""

    colour: int
    path: str


@dataclass(frozen=True)
class Mark:
    """The number of a cluster, in its middle."""

    x: float
    y: float
    label: str


@dataclass(frozen=True)
class ExpertMap:
    crowds: tuple[Crowd, ...]
    dots: tuple[Dot, ...]
    marks: tuple[Mark, ...]
    width: float = WIDTH
    height: float = HEIGHT

    @property
    def says_all(self) -> bool:
        """Every name is written."""
        return all(dot.label.has_room for dot in self.dots)

    @property
    def has_stops(self) -> bool:
        return len(self.dots) <= MOST_STOPS


@dataclass(frozen=True)
class Row:
    """An expert in the table beside the map, and who is most like it."""

    placement: Placement
    nearest: Adapter | None
    cosine: float


def map_page(request: HttpRequest, library: Library) -> dict[str, Any]:
    """The newest map with its table, narrowed to a cluster where the address says so. Raises NotFound."""
    found = clusters.newest_clustering(library.pk)
    if found is None:
        return {"library": library, "clustering": None}
    places, chosen = _places(found), _chosen(request.GET.get("cluster"))
    sizes = Counter(place.cluster for place in places)
    if chosen is not None and chosen not in sizes:
        raise NotFound(f"There is no cluster {chosen} on the newest map of {library.slug}.")
    listed = _listed(found, request.user, chosen)
    page = Paginator(listed, A_PAGE).get_page(request.GET.get("page"))
    named = listed if chosen is not None or len(places) <= MOST_NAMED else listed.none()
    return {
        "library": library,
        "clustering": found,
        "total": len(places),
        "sizes": sorted(sizes.items()),
        "chosen": chosen,
        "map": drawn(places, list(named[:MOST_NAMED]), chosen),
        "page": page,
        "rows": list(_rows(page, request.user)),
    }


def preview(found: Clustering) -> ExpertMap:
    """The same without names, for a page that leads there."""
    return drawn(_places(found), (), None)


def drawn(places: Sequence[Place], named: Sequence[Placement], chosen: int | None) -> ExpertMap:
    """One scale for both axes: what counts is the distance. Those that have no name are a crowd."""
    at = _onto_the_page(places)
    colour = {
        place.pk: 0 if chosen not in {None, place.cluster} else colour_of(place.cluster) for place in places
    }
    shown = [one for one in named if one.pk in at]
    names = [(*at[one.pk], one.release.adapter.full_name) for one in shown]
    dots = tuple(
        Dot(*at[one.pk], one.cluster, colour[one.pk], *_name(one), label)
        for one, label in zip(shown, _labels(names), strict=True)
    )
    with_names = {one.pk for one in named}
    paths: dict[int, list[str]] = defaultdict(list)
    for place in places:
        if place.pk not in with_names:
            x, y = at[place.pk]
            paths[colour[place.pk]].append(f"M{x} {y}h0")
    crowds = tuple(Crowd(number, "".join(points)) for number, points in sorted(paths.items()))
    return ExpertMap(crowds, dots, tuple(_marks(places, at)))


def _labels(names: Sequence[tuple[float, float, str]]) -> Iterable[Label]:
    """Among many, names are only shown one at a time."""
    if len(names) <= FEW:
        return labels.beside(names, width=WIDTH)
    return (Label(at_left=x > WIDTH / 2, has_room=False) for x, _, _ in names)


def _name(one: Placement) -> tuple[str, str]:
    return one.release.adapter.owner.username, one.release.adapter.name


def colour_of(cluster: int) -> int:
    """Which of the colours of series; 0 would be none."""
    return cluster % COLOURS + 1


def _places(found: Clustering) -> list[Place]:
    return [Place(*row) for row in found.placements.order_by("pk").values_list("pk", "cluster", "x", "y")]


def _listed(found: Clustering, visitor: Visitor, chosen: int | None) -> QuerySet[Placement]:
    """Those whose adapters the visitor may know of, by cluster and name."""
    known = visible_adapters(visitor).values("pk")
    rows = Placement.objects.filter(clustering=found, release__adapter__in=known)
    if chosen is not None:
        rows = rows.filter(cluster=chosen)
    return (
        rows.select_related("release__adapter__owner")
        .only(
            *("cluster", "neighbours", "release__adapter__name", "release__adapter__owner__username"),
        )
        .order_by("cluster", "release__adapter__owner__username", "release__adapter__name")
    )


def _rows(page: Page[Placement], visitor: Visitor) -> Iterator[Row]:
    """One read for the nearest of all of them."""
    first = {row.pk: row.neighbours[0] for row in page if row.neighbours}
    releases = Release.objects.filter(
        pk__in=[int(pk) for pk, _ in first.values()], adapter__in=visible_adapters(visitor).values("pk")
    )
    known = {
        release.pk: release.adapter
        for release in releases.select_related("adapter__owner").only(
            "adapter__name", "adapter__owner__username"
        )
    }
    for row in page:
        pk, cosine = first.get(row.pk, (0, 0.0))
        yield Row(row, known.get(int(pk)), cosine)


def _chosen(said: str | None) -> int | None:
    """Raises NotFound."""
    if not said:
        return None
    if not said.isdecimal():
        raise NotFound(f"cluster is {said[:40]!r}; expected a number")
    return int(said)


def _onto_the_page(places: Sequence[Place]) -> Mapping[int, tuple[float, float]]:
    left, right = min(one.x for one in places), max(one.x for one in places)
    low, high = min(one.y for one in places), max(one.y for one in places)
    scale = min(
        (WIDTH - 2 * EDGE) / (right - left) if right > left else 1.0,
        (HEIGHT - 2 * EDGE) / (high - low) if high > low else 1.0,
    )
    return {
        one.pk: (
            round(WIDTH / 2 + (one.x - (left + right) / 2) * scale, 1),
            round(HEIGHT / 2 - (one.y - (low + high) / 2) * scale, 1),
        )
        for one in places
    }


def _marks(places: Sequence[Place], at: Mapping[int, tuple[float, float]]) -> Iterator[Mark]:
    """Where there are several clusters, and so few that their numbers can be read."""
    members: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for place in places:
        members[place.cluster].append(at[place.pk])
    if 1 < len(members) <= MOST_MARKS:
        for number, points in sorted(members.items()):
            x, y = (sum(axis) / len(points) for axis in zip(*points, strict=True))
            yield Mark(round(x, 1), round(y, 1), str(number))
