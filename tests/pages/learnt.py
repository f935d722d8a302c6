"""What workers learn about experts, added to the content of `tests.pages.content`: gates, what reads prompts,
a classifier of prompts, clusters and neighbours. The numbers are invented, as they are there.
"""

import math
from collections.abc import Sequence
from datetime import timedelta

from django.utils import timezone

from hub.adapters import introductions
from hub.adapters.introductions import Wanted
from hub.adapters.models import Release
from hub.clusters import services as clusters
from hub.clusters.services import Placed
from hub.evaluations import services as evaluations
from hub.evaluations.schemas import EvaluationIn
from hub.indexes import queries
from hub.indexes import services as indexes
from hub.indexes.models import IndexVersion, PromptClassifier
from hub.jobs import services as jobs
from hub.jobs.models import JobKind
from hub.library import services as libraries
from hub.library.models import Library
from hub.uses import services as uses
from hub.uses.models import DayOfUse
from hub.uses.schemas import ReportIn
from tests.hub import making
from tests.pages import asked
from tests.pages.ablated import contributions, in_every_state
from tests.pages.content import Content

COUNT = 3
ENCODER = "folder:" + "5e" * 32
# name, questions of each task, how much less the policy gains; what was sent last is what home draws
SUITES = ((f"everything-{'we-ask-' * 12}of-it", 50, -0.2), ("bbh", None, 0.0))


def add_what_is_learnt(made: Content) -> None:
    """Panels that are there only where something was learnt: on the library, its versions and the adapters.

    The newest evaluation has questions that can be read one by one.
    """
    making.gate(made.ready)
    making.gate(made.ready, source="collector", held=True)
    _let_an_encoder_read(made.library)
    version = published(made.library)
    _classify(version)
    _cluster(made.library, queries.experts(version))
    for number, worse in ((2, 0.18), (3, 0.07), (4, 0.1)):
        _evaluate(queries.version(made.library, number), made, suites=(("bbh", None, -worse),))
    _evaluate(version, made, suites=SUITES)
    report_uses(made.library, days=24)
    contributions(queries.version(made.library, 3), made.maintainer, "Chores")
    in_every_state(version, made.maintainer)
    made.library.refresh_from_db()


def report_uses(library: Library, *, days: int) -> None:
    """What a serving process would report, of each of so many days; the newest version is the one that answers."""
    version = queries.newest(library)
    assert version is not None
    names = [release.adapter.full_name for release in queries.experts(version)]
    modules = [module["name"] for module in (library.base_spec or {})["target_modules"]]
    today = timezone.now().date()
    for ago in range(days):
        tokens = [4_000 + 900 * ((ago * 7) % 5)] * len(modules)
        hits = {
            name: [_hits(tokens[0], place, at, ago) for at in range(len(modules))]
            for place, name in enumerate(names)
        }
        report = ReportIn(
            format=1,
            instance=f"{ago:032x}",
            number=1,
            day=today,
            library=library.slug,
            version=version.number,
            manifest=version.manifest,
            modules=modules,
            tokens=tokens,
            hits=hits,
        )
        uses.record(report)
        DayOfUse.objects.filter(day=today).update(day=today - timedelta(days=ago + 1))
    uses.add_up()


def _hits(tokens: int, place: int, module: int, ago: int) -> int:
    """An expert is chosen most in some layers, and from week to week differently."""
    height = 0.5 + 0.5 * math.sin(module / 6 + place)
    return int(tokens * height / (place + 3) * (1 + 0.4 * math.sin(ago / 3 + place)))


def _evaluate(version: IndexVersion, made: Content, suites: Sequence[tuple[str, int | None, float]]) -> None:
    for suite, limit, shift in suites:
        ways = [
            ("base", "base", 0.0),
            ("library's policy", "policy", 0.31 + shift),
            ("arrow", "router", 0.12 + shift),
            ("retrieval", "router", 0.2 + shift),
            (made.long.adapter.full_name, "expert", 0.05 + shift),
            (made.ready.adapter.full_name, "expert", 0.11 + shift),
        ]
        rows = [
            {
                "variant": name,
                "kind": kind,
                "members": {"all": 0.4 + gain},
                "mean": 0.4 + gain,
                "above_base": gain,
                "low": gain - 0.02 * bool(gain),
                "high": gain + 0.02 * bool(gain),
            }
            for name, kind, gain in ways
        ]
        document = {
            "suite": suite,
            "about": {"manifest": version.manifest, "harness": "lm-eval 0.4.9", "limit": limit},
            "members": {"all": {"metric": "acc", "questions": 597, "held_out": True}},
            "rows": rows,
            **({"questions": asked.questions(made)} if (suite, shift) == ("bbh", 0.0) else {}),
        }
        evaluations.record(version=version, by=made.maintainer, said=EvaluationIn.model_validate(document))


def _let_an_encoder_read(library: Library) -> None:
    wanted = libraries.change_encoder(library=library, source="/srv/encoders/small-sentences")
    claim = making.take(JobKind.INTRODUCE)
    for release in introductions.not_by(library, ENCODER):
        made = introductions.Introduction(release.commit.oid + "1" * 24, 6_200, ENCODER)
        introductions.record(claim, release.pk, made)
    named = {"source": wanted.encoder_source, "revision": None, "name": ENCODER}
    introductions.settle(claim, library.pk, wanted=Wanted.by(wanted), name=ENCODER, encoder=named)
    jobs.finish(claim)


def published(library: Library) -> IndexVersion:
    """The next version; work that waits for others goes on waiting."""
    claim = making.take(JobKind.INDEX)
    version = making.planned(claim, library)
    indexes.record_published(claim, version.pk, f"{version.number:064x}", 30)
    jobs.finish(claim)
    version.refresh_from_db()
    return version


def _classify(version: IndexVersion) -> None:
    report = {
        "classes": 7,
        "rows": 440,
        "held_out": 88,
        "accuracy": 0.9659,
        "calibration_error": 0.0412,
        "nobody_recall": 0.9375,
        "temperature": 4.0,
    }
    names = [release.adapter.full_name for release in queries.experts(version)]
    bins = [(0, 74, 0.011, 0), (1, 3, 0.14, 1), (4, 2, 0.47, 1), (7, 4, 0.76, 3), (9, 5, 0.97, 5)]
    kept = [dict(zip(("at", "rows", "stated", "own"), one, strict=True)) for one in bins]
    PromptClassifier.objects.create(
        version=version,
        digest="c" * 64,
        size=14_000,
        report=report,
        reliability=dict.fromkeys(names[:-1], kept),  # the last one came without sample rows
    )


def _cluster(library: Library, experts: Sequence[Release]) -> None:
    """Experts around a circle, those of a cluster close to each other."""
    jobs.enqueue(JobKind.CLUSTER, library_id=library.pk)
    claim = making.take(JobKind.CLUSTER)
    version = queries.newest(library)
    assert version is not None
    placed = [_placed(place, experts) for place in range(len(experts))]
    clusters.record_clusters(
        claim,
        version.pk,
        placed,
        count=COUNT,
        silhouette=0.41,
        copies=[],
        matrix="d" * 64,
        seconds=0.4,
    )
    jobs.finish(claim)


def _placed(place: int, experts: Sequence[Release]) -> Placed:
    cluster = place % COUNT
    angle = 2 * math.pi * (cluster / COUNT + place / len(experts) / 8)
    others = sorted(
        (other for other in range(len(experts)) if other != place),
        key=lambda other: (other % COUNT != cluster, abs(other - place)),
    )
    neighbours = [(experts[other].pk, 0.7312 / (rank + 1)) for rank, other in enumerate(others[:5])]
    return Placed(experts[place].pk, cluster, math.cos(angle), math.sin(angle), neighbours)
