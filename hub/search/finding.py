"""Finding adapters: the one way of the pages, the JSON API and the wire protocol. A search with its counts
takes five questions to the database, however many adapters there are; by meaning seven.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from django.db.models import Case, Count, F, OrderBy, Q, QuerySet, Value, When
from django.db.models.expressions import Combinable

from hub.adapters.models import Adapter, AdapterTag
from hub.adapters.permissions import visible_adapters
from hub.library.permissions import Visitor
from hub.search import by_meaning, facets
from hub.search.asking import TAG, WORDS, Asked
from hub.search.by_meaning import Nearest
from hub.search.facets import COUNTED, FACETS, OWNER, RANK, TASK, Counts, Facet
from hub.search.matching import matching
from hub.search.ranking import Ranked, fused

MOST_OWNERS = 12
MOST_TAGS = 30
ALL = "all"
OWNERS = next(facet for facet in FACETS if facet.name == OWNER)
# What lists show, and no more: a library's row has all modules of its base.
SHOWN = (
    *("owner", "owner__username", "library", "library__slug", "library__name"),
    *("name", "private", "gating", "downloads"),
    *(
        f"entry__{name}"
        for name in ("about", "task", "kind", "rank", "licence", "standing", "likes", "used", "newest_at")
    ),
)
Order = str | OrderBy | Combinable
# The key is the entry's, so that one index has the whole order.
NEWEST: tuple[Order, ...] = (F("entry__newest_at").desc(nulls_last=True), F("entry__adapter_id").desc())
ORDERS: dict[str, tuple[Order, ...]] = {
    "new": NEWEST,
    "used": (F("entry__used").desc(nulls_last=True), *NEWEST),
    "downloads": ("-downloads", *NEWEST),
    "likes": (F("entry__likes").desc(nulls_last=True), *NEWEST),
    "name": ("name_key", "owner__username", "pk"),
}


@dataclass(frozen=True)
class Found:
    """What a visitor finds: adapters to be cut into pages, and how many there are of what."""

    visitor: Visitor
    asked: Asked

    @cached_property
    def adapters(self) -> Ranked:
        """In the order that was asked for, each with its entry, owner and library."""
        return self._by_meaning.adapters if self.is_by_meaning else self.matched

    @property
    def matched(self) -> Ranked:
        """The same by words, whatever was asked for."""
        found = self._within(self.asked, FACETS).order_by(*_order(self.asked))
        return Ranked(found.values_list("pk", flat=True), self._shown())

    @property
    def is_by_meaning(self) -> bool:
        return self._nearest is not None and self._nearest.pks is not None

    @property
    def note(self) -> str:
        """What people should know of a search by meaning: why it is by words after all, or who comes last."""
        if self._nearest is None or self._nearest.pks is None:
            return self._nearest.note if self._nearest else ""
        return by_meaning.unread(self._by_meaning.unread)

    @property
    def total(self) -> int:
        return self.counts.total

    @cached_property
    def counts(self) -> Counts:
        """How many there are in all, and of each value of each facet but the owner."""
        found = self._within(self.asked, [OWNERS]).order_by()
        groups = found.values_list(*(facet.column for facet in COUNTED)).annotate(number=Count("pk"))
        return facets.count(((_values(row), row[-1]) for row in groups), self.asked.chosen)

    @cached_property
    def owners(self) -> list[tuple[str, int]]:
        """The owners of most of what is found, and those that were chosen."""
        found = self._within(self.asked, COUNTED).order_by().values_list("owner__username")
        counted = found.annotate(number=Count("pk")).order_by("-number", "owner__username")
        return list(counted[:MOST_OWNERS])

    @cached_property
    def tags(self) -> list[tuple[str, int]]:
        """The tags of most of what is found, each with how many adapters that one too would leave. Those that
        were chosen are tags of all.
        """
        found = self._within(self.asked, FACETS).order_by().values("pk")
        tags = AdapterTag.objects.filter(adapter__in=found).exclude(tag__contains=":")
        elsewhere = {*facets.SAID_ELSEWHERE, *self.counts.of[TASK]} - {*self.asked.tags}
        counted = tags.exclude(tag__in=elsewhere).order_by().values_list("tag").annotate(number=Count("pk"))
        return list(counted.order_by("-number", "tag")[:MOST_TAGS])

    def loosened(self) -> Iterator[tuple[str, Asked, int]]:
        """What leaving out one part of the search would find: the part, the search without it, how many."""
        for facet in COUNTED:
            if self.asked.chosen.get(facet.name):
                yield facet.name, self.asked.with_choice(facet.name), self.counts.without(facet.name)
        others = {
            WORDS: self.asked.with_words("") if self.asked.text and not self.is_by_meaning else None,
            TAG: self.asked.with_tags() if self.asked.tags else None,
            OWNER: self.asked.with_choice(OWNER) if self.asked.chosen.get(OWNER) else None,
            ALL: self.asked.with_words_alone() if self.asked.words else None,
        }
        for name, without in others.items():
            if without is not None:
                yield name, without, self._within(without, FACETS).count()

    @cached_property
    def _nearest(self) -> Nearest | None:
        """Whom the text is near to, of all that there are; None where that is not asked."""
        return by_meaning.nearest(self.asked.text) if self.asked.by_meaning and self.asked.words else None

    @cached_property
    def _by_meaning(self) -> "InOrder":
        """Those near to the text and those that have its words, fused; then whom nobody has read yet."""
        nearest = self._nearest.pks if self._nearest and self._nearest.pks else ()
        known = self._within(self.asked, FACETS).order_by(*NEWEST).values_list("pk", flat=True)
        candidates = dict.fromkeys(known)
        worded = matching(self._within(self.asked, FACETS), self.asked.words).order_by(*_best(self.asked))
        order = fused([pk for pk in nearest if pk in candidates], list(worded.values_list("pk", flat=True)))
        unread = candidates.keys() - set(nearest)
        ranked = dict.fromkeys([*order, *candidates])
        return InOrder(Ranked(list(ranked), self._shown()), len(unread))

    def _shown(self) -> QuerySet[Adapter]:
        """All that the visitor may know of, as lists show them."""
        found = visible_adapters(self.visitor).filter(entry__isnull=False)
        return found.select_related("entry", "owner", "library").only(*SHOWN)

    def _within(self, asked: Asked, among: Sequence[Facet]) -> QuerySet[Adapter]:
        """Those that the visitor may know of, with all tags, what is chosen in these facets and, unless
        words only say what comes first, all words.
        """
        words = [] if self.is_by_meaning else asked.words
        found = matching(visible_adapters(self.visitor).filter(entry__isnull=False), words)
        for tag in asked.tags:
            found = found.filter(tags__tag=tag)
        for facet in among:
            if values := asked.chosen.get(facet.name):
                found = found.filter(facets.condition(facet, values))
        return found


@dataclass(frozen=True)
class InOrder:
    """Adapters by meaning, and how many of them nobody has read yet."""

    adapters: Ranked
    unread: int


def _values(row: Sequence[object]) -> tuple[str, ...]:
    """A group's value of each facet, as addresses say it."""
    return tuple(
        facets.band_of(value) if facet.name == RANK else str(value or "")
        for facet, value in zip(COUNTED, row, strict=False)
    )


def _order(asked: Asked) -> tuple[Order, ...]:
    return _best(asked) if asked.order == "best" else ORDERS[asked.order]


def _best(asked: Asked) -> tuple[Order, ...]:
    return _closeness(asked.words), "-downloads", *NEWEST


def _closeness(words: Sequence[str]) -> Case:
    """0: the words are the whole name. 1: it begins with them. 2: it has them all. 3: anything else."""
    name = "-".join(words)
    has_all = Q(*(Q(name_key__contains=word) for word in words))
    return Case(
        When(name_key=name, then=Value(0)),
        When(name_key__startswith=name, then=Value(1)),
        When(has_all, then=Value(2)),
        default=Value(3),
    )
