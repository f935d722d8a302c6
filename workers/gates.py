"""GATES: make the gates that an expert lacks, look at what they would take, and keep them."""

from collections.abc import Mapping

from hub.adapters import gates as hub_gates
from hub.adapters.gates import Candidate
from hub.adapters.models import Release
from hub.faults import reach
from hub.jobs import services as jobs
from hub.jobs.claims import Claim
from routing.chat import BadConversation
from routing.factors import Factors
from routing.prototypes import routing_vectors
from routing.training import BadRows
from workers.gate_sources import SOURCES, Made
from workers.indexing import entry
from workers.places import index_store
from workers.plausibility import doubts
from workers.validation import as_json, release_of


def train(claim: Claim) -> None:
    reach("gates.claimed")
    release = release_of(claim)
    ready = release.status == Release.Status.READY
    lacking = hub_gates.lacking_sources(release) if ready else []
    if not lacking:
        jobs.log(claim, "nothing to do: it is not ready, or it has all gates that it could have")
        return
    factors = index_store().read_factors(entry(release))
    for source in lacking:
        try:
            made = SOURCES[source](claim, release, factors)
        except (BadRows, BadConversation) as error:
            jobs.log(claim, f"no gates from {source}: {error}")
            continue
        reach("gates.trained")
        if made.best_step == 0:
            what = "none was better on held-out rows than the expert at half strength"
            jobs.log(claim, f"no gates from {source}: {what}")
            continue
        keep(claim, release, factors, source=source, made=made)


def keep(claim: Claim, release: Release, factors: Mapping[str, Factors], *, source: str, made: Made) -> None:
    """Put gates beside the prototypes into the store, and record them, held back if they take too much."""
    vectors = routing_vectors(factors, made.gates)
    stored = index_store().put_expert(vectors, factors)
    reach("gates.stored")
    findings = as_json(doubts(release, vectors))
    candidate = Candidate(
        source=source,
        vectors_digest=stored.vectors,
        vectors_size=stored.vectors_size,
        rows=made.rows,
        curve=made.curve,
        best_step=made.best_step,
        seconds=made.seconds,
        peak_bytes=made.peak_bytes,
        rows_digest=made.rows_digest,
        findings=findings,
    )
    hub_gates.record(claim, release.pk, candidate)
    reach("gates.recorded")
    held = "held back: " + "; ".join(finding["found"] for finding in findings) if findings else "admitted"
    jobs.log(claim, f"gates from {source}, step {made.best_step}, {made.seconds:.1f} s: {held}")
