"""GATES: train an expert's gates on its contributor's sample rows, and keep them beside its prototypes."""

from hub.adapters import services as adapters
from hub.adapters.models import Release
from hub.blobs import services as blobs
from hub.faults import reach
from hub.jobs import services as jobs
from hub.jobs.claims import Claim
from routing.checks.samples import parse_samples
from routing.gates import TrainedGates, train_gates
from routing.prototypes import routing_vectors
from routing.rows import Row, encoded_rows
from routing.training import BadRows
from workers.indexing import entry
from workers.places import index_store, loaded_base
from workers.validation import release_of


def train(claim: Claim) -> None:
    reach("gates.claimed")
    release = release_of(claim)
    if release.status != Release.Status.READY or not release.samples_id:
        jobs.log(claim, "nothing to do: it is not ready, or it has no sample rows")
        return
    factors = index_store().read_factors(entry(release))
    base = loaded_base(release.adapter.library)

    def progress(done: int, total: int, note: str) -> None:
        jobs.report_progress(claim, done, total, note)

    try:
        trained = train_gates(base, factors, rows_of(release), progress=progress)
    except BadRows as error:
        jobs.log(claim, f"no gates: {error}")
        return
    reach("gates.trained")
    if trained.best_step == 0:
        jobs.log(claim, "no gates: none was better on held-out rows than the expert at half strength")
        return
    stored = index_store().put_expert(routing_vectors(factors, trained.gates), factors)
    reach("gates.stored")
    record(claim, release, trained, digest=stored.vectors, size=stored.vectors_size)
    reach("gates.recorded")


def rows_of(release: Release) -> list[Row]:
    """The contributor's rows in the base's tokens."""
    samples, _findings = parse_samples(blobs.local_path(str(release.samples_id)).read_bytes())
    return encoded_rows(loaded_base(release.adapter.library), samples)


def record(claim: Claim, release: Release, trained: TrainedGates, *, digest: str, size: int) -> None:
    adapters.record_gates(
        claim,
        release.pk,
        vectors_digest=digest,
        vectors_size=size,
        rows=trained.rows,
        curve=[(point.step, point.training, point.held_out) for point in trained.curve],
        best_step=trained.best_step,
        seconds=trained.seconds,
        peak_bytes=trained.peak_bytes,
    )
    jobs.log(claim, f"gates of step {trained.best_step} in {trained.seconds:.1f} s")
