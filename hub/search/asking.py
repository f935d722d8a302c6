"""What somebody asks for, as an address says it: words, choices in facets, tags, an order, a page."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from django.http import QueryDict

from hub.errors import Invalid
from hub.search import facets, words

WORDS, TAG, SORT, PAGE, BY = "q", "tag", "sort", "page", "by"
MEANING = "meaning"
WAYS = ("words", MEANING)
LONGEST_TEXT = 200
MOST_VALUES = 20  # of a facet, and tags
SORTS = {
    "best": "Best match",
    "new": "Newest release",
    "used": "Most used by the router",
    "downloads": "Most downloads",
    "likes": "Most likes",
    "name": "Name",
}
CLOSED = {facet.name: facet.labels for facet in facets.FACETS if facet.labels}


@dataclass(frozen=True)
class Asked:
    """A search. `sort` is empty where nobody chose one. By meaning the text narrows nothing: it says what
    comes first, and no other sort has a say.
    """

    text: str = ""
    by_meaning: bool = False
    chosen: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    sort: str = ""

    @property
    def words(self) -> list[str]:
        return words.typed(self.text)

    @property
    def order(self) -> str:
        """By what is sorted. Nothing matches best where nothing is searched."""
        return self.sort if self.sort and (self.sort != "best" or self.words) else self.usual_order

    @property
    def usual_order(self) -> str:
        """Where nobody chose: the best match comes first, and without words the newest."""
        return "best" if self.words else "new"

    @property
    def is_anything(self) -> bool:
        return bool(self.words or self.tags or any(self.chosen.values()))

    def with_words(self, text: str) -> "Asked":
        return replace(self, text=text)

    def with_words_alone(self) -> "Asked":
        return Asked(text=self.text, by_meaning=self.by_meaning, sort=self.sort)

    def with_tags(self, *tags: str) -> "Asked":
        return replace(self, tags=tags)

    def tag_toggled(self, tag: str) -> "Asked":
        """With a tag more, or one less."""
        kept = tuple(one for one in self.tags if one != tag)
        return self.with_tags(*(kept if tag in self.tags else (*self.tags, tag)))

    def with_choice(self, facet: str, *values: str) -> "Asked":
        """Nothing is chosen in a facet without values."""
        return replace(self, chosen={**self.chosen, facet: values})

    def toggled(self, facet: str, value: str) -> "Asked":
        """With a choice more, or one less."""
        now = self.chosen.get(facet, ())
        kept = tuple(one for one in now if one != value)
        return self.with_choice(facet, *(kept if value in now else (*now, value)))

    def query(self, page: int = 1) -> str:
        """The part of an address that asks for this, always in one order: to share and to keep."""
        said = QueryDict(mutable=True)
        if self.text:
            said[WORDS] = self.text
        if self.by_meaning:
            said[BY] = MEANING
        for facet in facets.FACETS:
            said.setlist(facet.name, list(self.chosen.get(facet.name, ())))
        said.setlist(TAG, list(self.tags))
        if self.sort:
            said[SORT] = self.sort
        if page > 1:
            said[PAGE] = str(page)
        return said.urlencode()


def asked(query: QueryDict, *, words_in: str = WORDS) -> Asked:
    """What an address asks for. Words are never wrong; a value that no facet has is. Raises Invalid."""
    chosen = {facet.name: _values(query, facet.name) for facet in facets.FACETS}
    for name, known in CLOSED.items():
        for value in chosen[name]:
            if value not in known:
                raise Invalid(f"{name} is {value!r}; expected one of {', '.join(known)}")
    sort = query.get(SORT, "")
    if sort and sort not in SORTS:
        raise Invalid(f"sort is {sort[:LONGEST_TEXT]!r}; expected one of {', '.join(SORTS)}")
    by = query.get(BY, "")
    if by and by not in WAYS:
        raise Invalid(f"by is {by[:LONGEST_TEXT]!r}; expected one of {', '.join(WAYS)}")
    text = " ".join(query.get(words_in, "").replace("\0", " ").split())[:LONGEST_TEXT]
    return Asked(text=text, by_meaning=by == MEANING, chosen=chosen, tags=_values(query, TAG), sort=sort)


def _values(query: QueryDict, name: str) -> tuple[str, ...]:
    """Each once. PostgreSQL keeps no NUL, so nothing has a value with one."""
    said = (value.replace("\0", "\N{REPLACEMENT CHARACTER}") for value in query.getlist(name))
    return tuple(dict.fromkeys(value[:LONGEST_TEXT] for value in said if value))[:MOST_VALUES]
