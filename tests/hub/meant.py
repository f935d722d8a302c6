"""A search by meaning without a worker: a query table of a few words, and cards whose vectors a test says."""

from collections.abc import Mapping, Sequence

import numpy as np
from django.conf import settings
from django.db.models import F
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from hub.adapters.models import Adapter
from hub.jobs import services as jobs
from hub.jobs.claims import Claim
from hub.jobs.models import Job, JobKind
from hub.search import meanings
from hub.search.meanings import Read
from hub.search.models import QueryTable
from tests.hub import making

ENCODER = "/encoders/tiny"
WORDS = {"letters": 0, "polite": 0, "poems": 1, "sums": 2}  # word: the axis along which it lies
WIDTH = 3


def claimed() -> Claim:
    """A worker's hold on the job that reads cards, without the wait for more of them."""
    Job.objects.filter(pk=meanings.ask().pk).update(not_before=F("created_at"))
    return making.take(JobKind.READ_CARDS)


def table(name: str = "table-1:folder:1", words: Mapping[str, int] = WORDS) -> QueryTable:
    """Do what a worker does before it reads the first card."""
    rows = np.eye(WIDTH + 1, WIDTH, dtype="<f2")[
        [*words.values(), WIDTH]
    ]  # the last token is the unknown one
    tokens = Tokenizer(
        models.WordLevel({word: place for place, word in enumerate([*words, "?"])}, unk_token="?")
    )
    tokens.normalizer, tokens.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.Whitespace()
    place = settings.TEMPORARY
    np.save(place / "vectors.npy", rows)
    (place / "tokenizer.json").write_text(tokens.to_str())
    wanted = meanings.wanted()
    assert wanted is not None
    claim = claimed()
    made = meanings.record_table(
        claim,
        wanted,
        name=name,
        width=WIDTH,
        tokenizer=place / "tokenizer.json",
        vectors=place / "vectors.npy",
    )
    jobs.finish(claim)
    (place / "vectors.npy").unlink(missing_ok=True)
    (place / "tokenizer.json").unlink(missing_ok=True)
    return made


def read(made: QueryTable, cards: Mapping[str, Sequence[float]]) -> None:
    """Do what a worker does: adapters by name, and what their cards mean."""
    claim = claimed()
    found = []
    for name, vector in cards.items():
        adapter = Adapter.objects.select_related("meaning").get(name=name)
        entries = np.array(vector, dtype=np.float64)
        asked = adapter.meaning.asked if hasattr(adapter, "meaning") else 0
        found.append(Read(adapter.pk, asked, (entries / np.linalg.norm(entries)).astype("<f2").tobytes()))
    meanings.record(claim, made, found)
    jobs.finish(claim)
