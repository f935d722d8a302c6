"""A library as it is after a thousand index versions: thousands of experts, all that was measured of them, and what waits.

Written straight into the database, as `bench.filled_shelves` does, to the first of its libraries.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.contrib.sessions.backends.db import SessionStore
from django.db import transaction
from django.utils import timezone

from bench.filled_shelves import MODULES, PEOPLE, done_job
from hub.ablations.models import Ablation, Contribution
from hub.accounts.models import Membership, User
from hub.adapters.models import Adapter, Release, ReleaseEvent
from hub.clusters.models import Clustering, Placement
from hub.decisions.models import Decision
from hub.evaluations.models import Evaluation, MemberQuestions
from hub.indexes.models import ComposedCheckpoint, IndexMember, IndexVersion, Promotion
from hub.jobs.models import Job, JobKind
from hub.library.models import Library
from hub.notifications.models import Kind, Notification
from hub.reports.models import Report
from hub.uses.models import DayOfUse, ExpertUse, VersionUse

VERSIONS, MEASURED, ALONE, TASKS, QUESTIONS = 1_000, 40, 200, 60, 20
DAYS, USED, CLUSTERS, NEIGHBOURS = 30, 500, 40, 10
HELD, REPORTS, TOLD, FAILED, OWNED = 200, 200, 1_000, 200, 300
ROUTERS = ("arrow", "retrieval", "classifier", "evidence")
ORGANISATION = "the-bench"


@dataclass(frozen=True)
class Grown:
    """Numbers that addresses have, and the session of somebody who may see everything."""

    library: str
    version: int
    evaluation: int
    task: str
    checkpoint: int
    ablation: int
    adapters: Sequence[str]
    experts: Sequence[str]
    session: str


@transaction.atomic
def grow() -> Grown:
    draw = random.Random(2)
    library = Library.objects.order_by("pk")[0]
    staff = User.objects.create(username="keeper", email="keeper@example.org", is_staff=True)
    library.maintainer = staff
    _organisation()
    releases = _experts(library, draw)
    version = _versions(library, releases, draw)
    evaluation = _evaluations(library, releases, draw)
    ablation = _contributions(version, releases, staff)
    _uses(version, releases, draw)
    _map(version, releases, draw)
    _waiting(releases, staff)
    checkpoint = ComposedCheckpoint.objects.create(
        library=library, version=version, kind="routed", requested_by=staff
    )
    known = Adapter.objects.filter(private=False).values_list("owner__username", "name").order_by("pk")
    return Grown(
        library=library.slug,
        version=version.number,
        evaluation=evaluation,
        task=_task(0),
        checkpoint=checkpoint.pk,
        ablation=ablation,
        adapters=[f"{owner}/{name}" for owner, name in known],
        experts=[one.adapter.full_name for one in releases if one.statistics["modules"]],
        session=_session(staff),
    )


def _experts(library: Library, draw: random.Random) -> list[Release]:
    found = Release.objects.filter(adapter__library=library, adapter__private=False).order_by("pk")
    known = list(found.select_related("adapter__owner"))
    for held in known[:HELD]:
        held.quarantined_at = held.settled_at
    Release.objects.bulk_update(known[:HELD], ["quarantined_at"])
    ReleaseEvent.objects.bulk_create(ReleaseEvent(release=one, what="quarantined") for one in known[:HELD])
    experts = known[HELD:]
    draw.shuffle(experts)
    return experts


def _versions(library: Library, releases: Sequence[Release], draw: random.Random) -> IndexVersion:
    """A third of the experts came with the first version, the others since then; some went again."""
    now = timezone.now()
    versions = IndexVersion.objects.bulk_create(
        IndexVersion(library=library, number=number, status="published", policy=library.policy, base_digest="b" * 64,
                     expert_count=len(releases) * (VERSIONS + 2 * number) // (3 * VERSIONS), manifest=f"{number:064x}", size=10**10,
                     published_at=now - timedelta(hours=8 * (VERSIONS - number)))
        for number in range(1, VERSIONS + 1)
    )  # fmt: skip
    since = [1 if place % 3 == 0 else draw.randrange(2, VERSIONS + 1) for place in range(len(releases))]
    members = [
        IndexMember(library=library, release=one, since=first)
        for one, first in zip(releases, since, strict=True)
    ]
    for member in members[::50]:
        member.until = member.since + 1
    IndexMember.objects.bulk_create(members)
    Promotion.objects.bulk_create(Promotion(library=library, version=one) for one in versions)
    Decision.objects.bulk_create(
        Decision(library=library, what="promoted", before=str(one.number - 1), after=str(one.number))
        for one in versions
    )
    Job.objects.bulk_create(done_job(JobKind.INDEX, library_id=library.pk) for _ in versions)
    library.current = versions[-1]
    library.save()
    return versions[-1]


def _evaluations(library: Library, releases: Sequence[Release], draw: random.Random) -> int:
    """Of the newest versions, with single experts; the number of the newest one, whose questions are kept."""
    names = [one.adapter.full_name for one in releases[:ALONE]]
    ways = [
        ("base", "base"),
        ("library's policy", "policy"),
        *((name, "router") for name in ROUTERS),
        *((name, "expert") for name in names),
    ]
    members = {_task(n): {"metric": "acc", "questions": 250, "held_out": n % 3 == 0} for n in range(TASKS)}
    made = []
    for version in library.versions.order_by("-number")[:MEASURED][::-1]:
        means = [round(0.3 + 0.5 * draw.random(), 4) for _ in ways]
        rows = [
            {
                "variant": name,
                "kind": kind,
                "mean": mean,
                "above_base": mean - 0.3,
                "low": mean - 0.32,
                "high": mean - 0.28,
            }
            for (name, kind), mean in zip(ways, means, strict=True)
        ]
        scores = {name: {task: round(draw.random(), 4) for task in members} for name, _ in ways}
        made.append(
            Evaluation(
                version=version,
                suite="bbh",
                harness="lm-eval 0.4.9",
                members=members,
                rows=rows,
                scores=scores,
                policy_mean=means[1],
            )
        )
    newest = Evaluation.objects.bulk_create(made)[-1]
    questions = [_question(place, [name for name, _ in ways[:10]], names) for place in range(QUESTIONS)]
    MemberQuestions.objects.create(
        evaluation=newest, member=_task(0), layers=list(range(32)), questions=questions, count=QUESTIONS
    )
    return newest.pk


def _task(number: int) -> str:
    return f"task-{number}"


def _question(place: int, ways: Sequence[str], experts: Sequence[str]) -> dict[str, Any]:
    spoke = {
        "shares": dict.fromkeys(experts[place : place + 4], 0.2),
        "by_layer": dict.fromkeys(experts[place : place + 4], [0.3] * 32),
    }
    answers = [
        {
            "variant": way,
            "score": float(place % 2),
            "right": place % 2 == 1,
            "text": "an answer " * 20,
            "taken": "",
            **spoke,
        }
        for way in ways
    ]
    return {
        "task": _task(0),
        "question": str(place),
        "differs": False,
        "metric": "acc",
        "prompt": "a prompt " * 100,
        "expected": "yes",
        "cut": False,
        "answers": answers,
    }


def _contributions(version: IndexVersion, releases: Sequence[Release], by: User) -> int:
    found = Ablation.objects.create(
        version=version,
        name="Chores",
        rows_sha256="e" * 64,
        lines=412,
        by=by,
        state="done",
        rows=412,
        score=-0.8,
        base_score=-1.9,
        exact=0.47,
        base_exact=0.08,
        settled_at=timezone.now(),
    )
    gains = [0.3 / (1 + place) ** 0.5 - 0.01 for place in range(len(releases))]
    Contribution.objects.bulk_create(
        Contribution(ablation=found, release=one, gain=gain, low=gain - 0.01, high=gain + 0.01, exact_gain=gain, exact_low=0.0,
                     exact_high=gain, heard=100)
        for one, gain in zip(releases, gains, strict=True)
    )  # fmt: skip
    return found.pk


def _uses(version: IndexVersion, releases: Sequence[Release], draw: random.Random) -> None:
    """Every expert's sums by module, and the last days of those that are used much."""
    today = timezone.now().date()
    use = VersionUse.objects.create(
        version=version, modules=MODULES, tokens=[4_000_000] * len(MODULES), last_day=today
    )
    hits = [[draw.randrange(4_000) for _ in MODULES] for _ in range(20)]
    ExpertUse.objects.bulk_create(
        ExpertUse(use=use, release=one, hits=hits[place % len(hits)]) for place, one in enumerate(releases)
    )
    days = [today - timedelta(days=ago) for ago in range(DAYS)]
    DayOfUse.objects.bulk_create(
        DayOfUse(version=version, release=one, day=day, places=1000, tokens=4.5)
        for day in days
        for one in [None, *releases[:USED]]
    )


def _map(version: IndexVersion, releases: Sequence[Release], draw: random.Random) -> None:
    found = Clustering.objects.create(
        version=version, count=CLUSTERS, silhouette=0.3, copies=[], matrix="d" * 64, seconds=60.0
    )
    pks = [one.pk for one in releases]
    Placement.objects.bulk_create(
        Placement(clustering=found, release=one, cluster=place % CLUSTERS, x=math.cos(place) * draw.random(), y=math.sin(place) * draw.random(),
                  neighbours=[[pks[place - ahead], 0.5] for ahead in range(1, NEIGHBOURS + 1)])
        for place, one in enumerate(releases)
    )  # fmt: skip


def _waiting(releases: Sequence[Release], staff: User) -> None:
    """What a desk shows: reports, failed jobs; and what a bell counts."""
    people = list(User.objects.filter(is_staff=False)[:REPORTS])
    Report.objects.bulk_create(
        Report(adapter=one.adapter, by=by, reason="rights", text="These are the weights of another one. " * 5)
        for one, by in zip(releases, people, strict=False)
    )
    now = timezone.now()
    failed = [done_job(JobKind.GATES, release_id=one.pk) for one in releases[:FAILED]]
    for job in failed:
        job.state, job.error, job.finished_at = Job.State.FAILED, "out of memory\n" * 20, now
    Job.objects.bulk_create(failed)
    Notification.objects.bulk_create(
        Notification(user=staff, kind=Kind.REVIEW, title=f"{one.adapter.full_name} waits", text="It is held back.", path="/desk", in_page=True, by_email=False)
        for one in releases[:TOLD]
    )  # fmt: skip


def _organisation() -> None:
    """Of many people, with many adapters."""
    found = User.objects.create(username=ORGANISATION, kind=User.Kind.ORGANISATION)
    people = User.objects.filter(kind=User.Kind.PERSON).order_by("pk")[: PEOPLE // 2]
    now = timezone.now()
    Membership.objects.bulk_create(
        Membership(organisation=found, user=one, role="member" if place else "owner", joined_at=now)
        for place, one in enumerate(people)
    )
    theirs = Adapter.objects.order_by("-pk").values_list("pk", flat=True)[:OWNED]
    Adapter.objects.filter(pk__in=list(theirs)).update(owner=found)


def _session(user: User) -> str:
    session = SessionStore()
    session["_auth_user_id"] = str(user.pk)
    session["_auth_user_backend"] = "allauth.account.auth_backends.AuthenticationBackend"
    session["_auth_user_hash"] = user.get_session_auth_hash()
    session.create()
    return str(session.session_key)
