"""ABLATE: score a version of a library on its maintainer's rows, with all of its experts and without each.

What is measured of an expert is recorded at once: whoever begins again, after a worker died or the work was
stopped, reads the rows once with all experts and goes on with those that are missing.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from django.conf import settings

from hub.ablations import queries, services
from hub.ablations.models import Ablation
from hub.ablations.services import Cost, Interval, Score
from hub.blobs import services as blobs
from hub.faults import reach
from hub.indexes.models import IndexMember
from hub.jobs import services as jobs
from hub.jobs.claims import Claim
from routing import ablation as measuring
from routing.ablation import Whole
from routing.absence import Readings
from routing.base import Base
from routing.chat import BadConversation
from routing.checks.samples import parse_samples
from routing.composed import compose_version
from routing.errors import RoutingError
from routing.paired import Difference, Outcomes, exact_gain, log_likelihood_gain
from routing.rows import Row, encoded_row
from workers.places import index_store, loaded_base
from workers.progress import reporter

FEWEST_ROWS = 10  # fewer say nothing of what they were drawn from
MOST_NAMED = 5
SECONDS_BETWEEN_LOOKS = 1.0
State = Ablation.State
Report = Callable[[int, int, str], None]


class RefusedRows(Exception):
    """Rows that nothing can be measured on; what is wrong with them, and what would be right."""


class UsedUp(Exception):
    """So much may be read, or so long worked, and no more."""


class Withdrawn(Exception):
    """Somebody cancelled the work."""


@dataclass
class Meter:
    """What the work took since it was last asked for, and since the last step of it was recorded."""

    ablation: Ablation
    began: float = field(default_factory=time.monotonic)
    tokens: int = 0
    recorded: Cost = field(default_factory=lambda: Cost(0, 0.0))
    looked: float = 0.0

    def spent(self, tokens: int) -> None:
        """After each pass. Raises UsedUp, Withdrawn."""
        self.tokens += tokens
        read, seconds = self.ablation.tokens + self.tokens, self.ablation.seconds + self._seconds
        if read > settings.ABLATION_TOKENS:
            raise UsedUp(f"{read:,} tokens were read of {settings.ABLATION_TOKENS:,} that may be")
        if seconds > settings.ABLATION_SECONDS:
            raise UsedUp(f"it took {seconds:,.0f} seconds of {settings.ABLATION_SECONDS:,} that it may take")
        if time.monotonic() - self.looked > SECONDS_BETWEEN_LOOKS:
            self.looked = time.monotonic()
            if not queries.is_under_way(self.ablation.pk):
                raise Withdrawn

    def step(self) -> Cost:
        """What came since the last step; called once for each."""
        cost = Cost(self.tokens - self.recorded.tokens, self._seconds - self.recorded.seconds)
        self.recorded = Cost(self.tokens, self._seconds)
        return cost

    @property
    def _seconds(self) -> float:
        return time.monotonic() - self.began


def ablate(claim: Claim) -> None:
    reach("ablation.claimed")
    found = queries.ablation(claim.ids["ablation_id"])
    if found.state != State.REQUESTED:
        jobs.log(claim, f"nothing to do: it is {found.state}")
        return
    try:
        _measure(claim, found)
    except Withdrawn:
        jobs.log(claim, "cancelled")
    except RefusedRows as error:
        _end(claim, found, State.REFUSED, str(error))
    except UsedUp as error:
        left = len(queries.unmeasured(found))
        _end(claim, found, State.STOPPED, f"{error}; {left} of {queries.asked_for(found)} experts are left")
    except RoutingError as error:
        _end(claim, found, State.REFUSED, f"the version cannot be routed: {error}")
    else:
        services.settle(claim, found.pk, State.DONE)


def _end(claim: Claim, found: Ablation, state: Ablation.State, note: str) -> None:
    services.settle(claim, found.pk, state, note)
    jobs.log(claim, f"{state}: {note}")


def _measure(claim: Claim, found: Ablation) -> None:
    """Raises RefusedRows, UsedUp, Withdrawn, RoutingError."""
    report, meter = reporter(claim), Meter(found)
    missing, total = queries.unmeasured(found), queries.asked_for(found)
    known = total - len(missing)
    report(known, total, "loading the base and the experts")
    base, store = loaded_base(found.version.library), index_store()
    rows = rows_of(found, base)
    model = compose_version(store, store.read_manifest(found.version.manifest), base)
    work = measuring.Ablation(model, rows, meter.spent)
    _check_budget(work)
    report(known, total, f"reading {len(rows)} rows with all experts")
    whole = work.whole()
    _record_whole(claim, found, whole.outcomes, work.base(), meter)
    reach("ablation.whole_recorded")
    readied = _Readied(work, whole, work.readings())
    for place, member in enumerate(missing, known):
        report(place, total, f"leaving out expert {place + 1} of {total}")
        _leave_out(claim, found, member, meter, readied)
        reach("ablation.expert_recorded")
    report(total, total, f"measured {total} experts")
    jobs.log(claim, f"{found}: {total} experts on {len(rows)} rows, {meter.tokens:,} tokens read")


@dataclass(frozen=True)
class _Readied:
    """Rows that were read with all experts, to be read without one."""

    work: measuring.Ablation
    whole: Whole
    readings: Readings


def _leave_out(claim: Claim, found: Ablation, member: IndexMember, meter: Meter, readied: _Readied) -> None:
    name, whole = member.release.adapter.full_name, readied.whole
    others = readied.work.without(name, whole, readied.readings)
    heard = whole.heard[:, readied.work.model.pack.places[name]]
    recorded = services.record_contribution(
        claim,
        found.pk,
        member.release_id,
        gain=_interval(log_likelihood_gain(whole.outcomes, others)),
        exact=_interval(exact_gain(whole.outcomes, others)),
        heard=int(heard.sum()),
        cost=meter.step(),
    )
    if not recorded:
        raise Withdrawn


def _record_whole(claim: Claim, found: Ablation, whole: Outcomes, base: Outcomes, meter: Meter) -> None:
    recorded = services.record_whole(
        claim,
        found.pk,
        rows=len(whole.tokens),
        whole=Score(whole.per_token, whole.exact_share),
        base=Score(base.per_token, base.exact_share),
        cost=meter.step(),
    )
    if not recorded:
        raise Withdrawn


def _check_budget(work: measuring.Ablation) -> None:
    """Raises RefusedRows where not one expert could be left out: with all, with none, and without one."""
    needed = 3 * work.tokens
    if needed > settings.ABLATION_TOKENS:
        raise RefusedRows(
            f"rows: found {work.tokens:,} tokens, which are read at least three times; expected at most "
            f"{settings.ABLATION_TOKENS // 3:,} (FLETCH_ABLATION_TOKENS)"
        )


def rows_of(found: Ablation, base: Base) -> list[Row]:
    """The rows in the base's tokens, each once. Raises RefusedRows with all that is wrong with them."""
    if found.rows_blob is None:
        raise RefusedRows("the rows were deleted; send them again")
    samples, findings = parse_samples(blobs.local_path(found.rows_blob.sha256).read_bytes())
    complaints = [f"{one.field or 'rows'}: found {one.found}, expected {one.expected}" for one in findings]
    different = list(dict.fromkeys(samples))
    rows: list[Row] = []
    for number, sample in enumerate(different, 1):
        try:
            rows.append(encoded_row(base, sample))
        except BadConversation as error:
            complaints.append(f"row {number}: {error}")
            continue
        length = base.family.length(*rows[-1])
        if length > base.spec.context:
            complaints.append(f"row {number}: found {length} tokens, expected at most {base.spec.context}")
    if not complaints and len(different) < FEWEST_ROWS:
        complaints.append(f"rows: found {len(different)} different ones, expected at least {FEWEST_ROWS}")
    if complaints:
        raise RefusedRows(_listed(complaints))
    return rows


def _listed(complaints: Sequence[str]) -> str:
    more = len(complaints) - MOST_NAMED
    return "; ".join(complaints[:MOST_NAMED]) + (f"; and {more} more" if more > 0 else "")


def _interval(found: Difference) -> Interval:
    return Interval(found.value, found.low, found.high)
