"""Meanings of cards: asked for when what an adapter says changes, read by workers, kept for the search.

Everything is off where the settings name no encoder. Two counters of a card's row say when it is to be read
again, so a job that was forgotten, doubled or lost changes nothing: the next one reads what is due.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q, QuerySet

from hub.adapters.models import Adapter
from hub.blobs import services as blobs
from hub.jobs import claims
from hub.jobs import services as jobs
from hub.jobs.claims import Claim
from hub.jobs.models import Job, JobKind
from hub.search.models import Meaning, QueryTable

READ_AFTER = timedelta(seconds=5)  # what changes meanwhile is read by the same job


@dataclass(frozen=True)
class Wanted:
    """The encoder that the settings name."""

    source: str
    revision: str


@dataclass(frozen=True)
class Read:
    """A card as it was read: at which change of it, and its vector, float16 of length one."""

    adapter_id: int
    asked: int
    vector: bytes


def wanted() -> Wanted | None:
    """None where nobody is to search by meaning."""
    source = settings.SEARCH_ENCODER
    return Wanted(source, settings.SEARCH_ENCODER_REVISION) if source else None


def ask_again(*adapters: Adapter) -> None:
    """Their names or their cards changed. The job is asked for when that is in the database: it is the same
    for all uploads, and would have them wait for each other.
    """
    pks = [adapter.pk for adapter in adapters]
    if pks and wanted() is not None:
        Meaning.objects.bulk_create([Meaning(adapter_id=pk) for pk in pks], ignore_conflicts=True)
        transaction.on_commit(ask, robust=True)
    Meaning.objects.filter(pk__in=pks).update(asked=F("asked") + 1)


def ask() -> Job:
    """Ask a worker to read what is due."""
    return jobs.enqueue(JobKind.READ_CARDS, wait=READ_AFTER)


def ask_for_forgotten() -> bool:
    """Ask where something is due and nobody asked: after a crash, or when the settings have just named an
    encoder. Not after a job that failed: that is the operator's to look at.
    """
    if wanted() is None or (current() is not None and not due(current()).exists()):
        return False
    last = last_job()
    if last is not None and last.state != Job.State.DONE:
        return False
    ask()
    return True


def ask_for_all() -> Job:
    """Have every card read anew, whatever was read of it."""
    Meaning.objects.update(asked=F("asked") + 1)
    return ask()


def last_job() -> Job | None:
    return Job.objects.filter(key=jobs.key_of(JobKind.READ_CARDS, {})).order_by("-pk").first()


def current() -> QueryTable | None:
    """The table by which queries are read now."""
    encoder = wanted()
    if encoder is None:
        return None
    return QueryTable.objects.filter(source=encoder.source, revision=encoder.revision).last()


def due(table: QueryTable | None) -> QuerySet[Adapter]:
    """Adapters whose card is not read by this table's encoder as it is now."""
    by_another = Q(meaning=None) | Q(meaning__table=None) | ~Q(meaning__table=table)
    changed = Q(meaning__answered__lt=F("meaning__asked"))
    return Adapter.objects.filter(by_another | changed, deleted_at=None)


@transaction.atomic
def record_table(
    claim: Claim, encoder: Wanted, *, name: str, width: int, tokenizer: Path, vectors: Path
) -> QueryTable:
    """Keep what tokens mean to an encoder; from now on queries are read by it. Raises Fenced."""
    kept = {"tokenizer": blobs.store_file(tokenizer), "vectors": blobs.store_file(vectors), "width": width}
    claims.hold(claim)
    table, _ = QueryTable.objects.get_or_create(
        source=encoder.source, revision=encoder.revision, encoder=name, defaults=kept
    )
    return table


@transaction.atomic
def record(claim: Claim, table: QueryTable, cards: Sequence[Read]) -> None:
    """Keep what was read. Whoever deletes an adapter does so before or after. Raises Fenced."""
    known = Adapter.objects.select_for_update(no_key=True).filter(pk__in=[card.adapter_id for card in cards])
    there = set(known.order_by("pk").values_list("pk", flat=True))
    locked = QueryTable.objects.select_for_update(no_key=True).get(pk=table.pk)
    claims.hold(claim)
    recording = locked.recordings + 1
    rows = [
        Meaning(
            adapter_id=card.adapter_id,
            table=locked,
            vector=card.vector,
            recording=recording,
            asked=card.asked,
            answered=card.asked,
        )
        for card in cards
        if card.adapter_id in there
    ]
    Meaning.objects.bulk_create(
        rows,
        update_conflicts=True,
        unique_fields=["adapter"],
        update_fields=["table", "vector", "recording", "answered"],
    )
    QueryTable.objects.filter(pk=table.pk).update(recordings=recording)


@transaction.atomic
def settle(claim: Claim, table: QueryTable) -> None:
    """Everything is read by this table's encoder: forget the tables of others. Raises Fenced."""
    claims.hold(claim)
    QueryTable.objects.exclude(pk=table.pk).delete()
