"""Adapters whose entries have all of some words, found by the database's own index of words."""

from collections.abc import Sequence

from django.db import connections
from django.db.models import QuerySet
from django.db.models.expressions import RawSQL

from hub.adapters.models import Adapter

FOUND_BY = {
    "sqlite": "SELECT rowid FROM search_words WHERE search_words MATCH %s",
    "postgresql": "SELECT adapter_id FROM search_entry WHERE word_vector @@ %s::tsquery",
}


def matching(adapters: QuerySet[Adapter], words: Sequence[str]) -> QuerySet[Adapter]:
    """Those with a word that begins with each of these (of `hub.search.words`); all without any."""
    if not words:
        return adapters
    vendor = connections[adapters.db].vendor
    # neither quotes nor operators can be in a word, and it is a parameter all the same
    return adapters.filter(pk__in=RawSQL(FOUND_BY[vendor], [QUERIES[vendor](words)]))  # noqa: S611  constant text


def _fts5(words: Sequence[str]) -> str:
    """https://sqlite.org/fts5.html section 3: strings, each the beginning of a token, all of them."""
    return " AND ".join(f'"{word}" *' for word in words)


def _tsquery(words: Sequence[str]) -> str:
    """https://www.postgresql.org/docs/current/datatype-textsearch.html, "tsquery": the same there."""
    return " & ".join(f"'{word}':*" for word in words)


QUERIES = {"sqlite": _fts5, "postgresql": _tsquery}
