"""Vectors of all cards in memory, and queries compared with every one of them: exact, with nothing to build.

The only file of the hub that computes with numpy. A process holds 4 bytes for each entry of each vector (15
MB for 10,000 adapters and an encoder 384 wide); the query table stays on disk, mapped.
"""

import threading
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from hub.blobs import services as blobs
from hub.search.models import Meaning, QueryTable

MOST_TOKENS = 256
STORED = np.dtype("<f2")
Vectors = NDArray[np.float32]
Identity = tuple[int, datetime]


def identity(table: QueryTable) -> Identity:
    """Also of a table that a restored database gives the number of another one."""
    return table.pk, table.made_at


@dataclass(frozen=True)
class Reader:
    """Reads queries by a table: the mean of the rows of a text's tokens."""

    table: Identity
    tokenizer: Tokenizer
    rows: NDArray[np.float16]

    @classmethod
    def of(cls, table: QueryTable) -> "Reader":
        """Raises whatever the blob storage raises, and ValueError for files that do not go together."""
        rows = np.load(blobs.local_path(str(table.vectors_id)), mmap_mode="r", allow_pickle=False)
        if rows.dtype != STORED or rows.ndim != 2 or rows.shape[1] != table.width:  # noqa: PLR2004  a matrix
            raise ValueError(
                f"{table}: found {rows.dtype} {rows.shape}; expected float16 [tokens, {table.width}]"
            )
        tokenizer = Tokenizer.from_file(str(blobs.local_path(str(table.tokenizer_id))))
        tokenizer.no_padding()
        tokenizer.no_truncation()
        return cls(identity(table), tokenizer, rows)

    def read(self, text: str) -> Vectors | None:
        """A vector of length one, [width]; None for a text that says nothing."""
        tokens = self.tokenizer.encode(text, add_special_tokens=False).ids[:MOST_TOKENS]
        known = [token for token in tokens if token < len(self.rows)]
        if not known:
            return None
        vector: Vectors = self.rows[known].astype(np.float32).mean(axis=0)
        length = float(np.linalg.norm(vector))
        return vector / np.float32(length) if length else None


@dataclass(frozen=True)
class Known:
    """What cards mean, as of a table's recordings up to some number: row i of `vectors` is of `pks[i]`."""

    table: Identity
    recordings: int
    pks: NDArray[np.int64]
    vectors: Vectors

    @classmethod
    def read(cls, table: QueryTable, *, since: int = 0) -> "Known":
        """All meanings that were recorded since."""
        found = Meaning.objects.filter(table=table, recording__gt=since).order_by("pk")
        rows = list(found.values_list("pk", "vector"))
        vectors = np.frombuffer(b"".join(vector for _, vector in rows), dtype=STORED).astype(np.float32)
        pks = np.array([pk for pk, _ in rows], dtype=np.int64)
        return cls(identity(table), table.recordings, pks, vectors.reshape(len(rows), table.width))

    def and_later(self, table: QueryTable) -> "Known":
        """With what was recorded since, in the place of what it replaces."""
        later = Known.read(table, since=self.recordings)
        kept = ~np.isin(self.pks, later.pks)
        return Known(
            self.table,
            later.recordings,
            np.concatenate([self.pks[kept], later.pks]),
            np.concatenate([self.vectors[kept], later.vectors]),
        )


class Memory:
    """What this process knows. Threads may find it at the same time; one of them brings it up to date."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reader: Reader | None = None
        self._known: Known | None = None

    def reader(self, table: QueryTable) -> Reader:
        with self._lock:
            if self._reader is None or self._reader.table != identity(table):
                self._reader = Reader.of(table)
            return self._reader

    def known(self, table: QueryTable) -> Known:
        """At least everything up to the table's recordings, which tell whether there is anything to fetch."""
        with self._lock:
            if self._known is None or self._known.table != identity(table):
                self._known = Known.read(table)
            elif self._known.recordings < table.recordings:
                grown = self._known.and_later(table)
                # adapters that are gone leave their rows behind until there are others to fetch
                is_whole = len(grown.pks) == Meaning.objects.filter(table=table).count()
                self._known = grown if is_whole else Known.read(table)
            return self._known


MEMORY = Memory()


def nearest(table: QueryTable, text: str) -> list[int] | None:
    """Primary keys of all adapters that the table's encoder has read, by cosine to the text, the nearest
    first. None where the text says nothing to it.
    """
    query = MEMORY.reader(table).read(text)
    if query is None:
        return None
    known = MEMORY.known(table)
    order = np.argsort(-(known.vectors @ query), kind="stable")
    found: list[int] = known.pks[order].tolist()
    return found
