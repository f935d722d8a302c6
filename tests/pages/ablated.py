"""Measurements of what experts contribute, in every state. The numbers are invented."""

import json

from hub.ablations import queries, services
from hub.ablations.models import Ablation
from hub.ablations.services import Cost, Interval, Score
from hub.accounts.models import User
from hub.indexes.models import IndexVersion
from hub.jobs import services as jobs
from hub.jobs.models import JobKind
from tests.hub import making

COST = Cost(4_321, 12.5)
LONG = "questions-that-" + "somebody-asked-" * 6 + "أسئلة عن الطبخ"


def asked(version: IndexVersion, by: User, name: str) -> Ablation:
    content = json.dumps({"prompt": name, "completion": "yes"}).encode()
    (staged,) = making.staged({"rows.jsonl": content})
    return services.request(version=version, file=staged.source, name=name, by=by)


def contributions(
    version: IndexVersion, by: User, name: str, *, state: Ablation.State = Ablation.State.DONE, note: str = ""
) -> Ablation:
    """Of every member a figure; of those that ended early, of half of them."""
    found = asked(version, by, name)
    claim = making.take(JobKind.ABLATE)
    if state != Ablation.State.REFUSED:
        services.record_whole(
            claim, found.pk, rows=412, whole=Score(-0.83, 0.47), base=Score(-1.91, 0.08), cost=COST
        )
        members = queries.unmeasured(found)
        for place, member in enumerate(
            members if state == Ablation.State.DONE else members[: len(members) // 2]
        ):
            gain = 0.3 / (1 + place) ** 2 - 0.01
            services.record_contribution(
                claim,
                found.pk,
                member.release_id,
                gain=Interval(gain, gain - 0.008 - 0.03 / (1 + place), gain + 0.008 + 0.03 / (1 + place)),
                exact=Interval(gain / 3, 0.0, gain),
                heard=400 // (1 + place),
                cost=COST,
            )
    services.settle(claim, found.pk, state, note)
    jobs.finish(claim)
    return found


def in_every_state(version: IndexVersion, by: User) -> Ablation:
    """Of this version; returned is the one that is done."""
    contributions(
        version,
        by,
        "No rows",
        state=Ablation.State.REFUSED,
        note='line 3: found the fields [\'question\'], expected text in "prompt" and "completion"',
    )
    contributions(
        version,
        by,
        LONG,
        state=Ablation.State.STOPPED,
        note="20,001,024 tokens were read of 20,000,000 that may be; 4 of 8 experts are left",
    )
    done = contributions(version, by, "Chores")
    asked(version, by, "Recipes")
    claim = making.take(JobKind.ABLATE)
    jobs.report_progress(claim, 3, 9, "leaving out expert 4 of 9")
    return done
