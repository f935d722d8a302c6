"""How the parts of this hub are, for people: each in a word, with the figures behind it, and no secret."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import Count, Max, Min, Q
from django.utils import timezone

from hub import health
from hub.adapters.models import Adapter
from hub.jobs.models import Job
from hub.library.models import Library, public_source
from hub.pages.phrases import ago, count
from hub.playground import serving
from hub.search import meanings

LONG = timedelta(minutes=5)  # that work waits for anybody to take it


@dataclass(frozen=True)
class Part:
    """`state` is good, warn or bad, or plain for what is not wanted; `said` one word, `facts` what it rests
    on.
    """

    name: str
    state: str
    said: str
    facts: list[tuple[str, str]] = field(default_factory=list)


def parts() -> list[Part]:
    return [_storage(), _work(), _serving(serving.report()), _meanings()]


def all_fine(found: Iterable[Part]) -> bool:
    return all(part.state in {"good", "plain"} for part in found)


def _storage() -> Part:
    """Database and files, as load balancers ask."""
    complaints = health.complaints()
    facts = [(name.capitalize(), complaint or "reached") for name, complaint in complaints.items()]
    broken = any(complaints.values())
    return Part(
        "Web, database and files", "bad" if broken else "good", "Trouble" if broken else "Fine", facts
    )


def _work() -> Part:
    """Whether workers keep up, told by what waits: they are not asked."""
    now = timezone.now()
    waiting = Q(state=Job.State.QUEUED, not_before__lte=now)
    found = Job.objects.filter(state__in=[Job.State.QUEUED, Job.State.RUNNING]).aggregate(
        waiting=Count("pk", filter=waiting),
        running=Count("pk", filter=Q(state=Job.State.RUNNING, lease_until__gt=now)),
        oldest=Min("not_before", filter=waiting),
    )
    last: datetime | None = Job.objects.order_by().aggregate(last=Max("finished_at"))["last"]
    facts = [("Waiting", count(found["waiting"])), ("Under way", count(found["running"]))]
    if found["oldest"]:
        facts.append(("Longest wait began", ago(found["oldest"], now=now)))
    facts.append(("Last one done", ago(last, now=now) if last else "never"))
    late = found["oldest"] is not None and now - found["oldest"] > LONG
    if late and not found["running"]:
        return Part("Workers", "bad", "Nobody takes work", facts)
    return Part("Workers", "warn" if late else "good", "Behind" if late else "Fine", facts)


def _serving(said: Mapping[str, Any] | None) -> Part:
    """What the serving process says of itself, beside what this hub wants served."""
    if said is None:
        return Part("Served models", "bad", "Not reached", [("Address", settings.SERVING_URL)])
    if not said:  # a proxy may keep to itself what a serving process says of its versions
        return Part("Served models", "good", "Reached", [("Address", settings.SERVING_URL)])
    versions = {str(one.get("library")): one.get("version") for one in serving.libraries(said)}
    wanted = Library.objects.filter(current__isnull=False).select_related("current").order_by("slug")
    facts, behind = [("Address", settings.SERVING_URL)], False
    for library in wanted[:100]:
        number = library.current.number if library.current else None
        serves = versions.get(library.slug)
        behind |= serves != number
        served = f"version {serves}" if isinstance(serves, int) else "not served"
        facts.append((library.name, served if serves == number else f"{served}; version {number} is wanted"))
    good = said.get("status") == "ready" and not behind
    return Part("Served models", "good" if good else "warn", "Fine" if good else "Not all as wanted", facts)


def _meanings() -> Part:
    """How far the search by meaning is; where it cannot answer, words do."""
    name = "Search by meaning"
    encoder = meanings.wanted()
    if encoder is None:
        return Part(name, "plain", "Off", [("Encoder", "none is named; adapters are found by words")])
    table, last = meanings.current(), meanings.last_job()
    waiting, known = meanings.due(table).count(), Adapter.objects.filter(deleted_at=None).count()
    called = f"{public_source(encoder.source)} {encoder.revision}".rstrip()
    facts = [
        ("Encoder", called if table else f"{called}, not loaded yet"),
        ("Cards read", count(known - waiting)),
        ("Cards waiting", count(waiting)),
    ]
    if last and last.state == Job.State.FAILED and (waiting or not table):
        return Part(name, "warn", "Reading failed", facts)
    return Part(name, "good", "Reading" if waiting or not table else "Fine", facts)
