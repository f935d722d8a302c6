"""Adapters whose entries have all of some words, found by the database's own index of words."""

from collections.abc import Sequence
from typing import Any

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import BooleanField, F, Func, QuerySet
from django.db.models.expressions import RawSQL
from django.db.models.sql.compiler import SQLCompiler

from hub.adapters.models import Adapter

IN_FTS = "SELECT rowid FROM search_words WHERE search_words MATCH %s"


def matching(adapters: QuerySet[Adapter], words: Sequence[str]) -> QuerySet[Adapter]:
    """Those with a word that begins with each of these (of `hub.search.words`); all without any."""
    if not words:
        return adapters
    # neither quotes nor operators can be in a word, and it is a parameter all the same
    if connections[adapters.db].vendor == "sqlite":
        return adapters.filter(pk__in=RawSQL(IN_FTS, [_fts5(words)]))  # noqa: S611  constant text
    return adapters.filter(Has(F("entry__words"), query=_tsquery(words)))


class Has(Func):
    """Whether the entry of this column has what a query wants, by the tsvector beside it, which is no field.

    Asked of the row that is joined already: a subquery would read all entries once more.
    """

    output_field = BooleanField()

    def as_postgresql(
        self, compiler: SQLCompiler, _connection: BaseDatabaseWrapper, **_: Any
    ) -> tuple[str, list[str]]:
        (column,) = self.get_source_expressions()
        return f"{compiler.quote_name_unless_alias(column.alias)}.word_vector @@ %s::tsquery", [
            self.extra["query"]
        ]


def _fts5(words: Sequence[str]) -> str:
    """https://sqlite.org/fts5.html section 3: strings, each the beginning of a token, all of them."""
    return " AND ".join(f'"{word}" *' for word in words)


def _tsquery(words: Sequence[str]) -> str:
    """https://www.postgresql.org/docs/current/datatype-textsearch.html, "tsquery": the same there."""
    return " & ".join(f"'{word}':*" for word in words)
