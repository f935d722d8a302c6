"""Gates from each source: brought with the upload, or trained on rows of contributor or collector."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from hub.adapters.models import Gates, Release
from hub.blobs import services as blobs
from hub.jobs import services as jobs
from hub.jobs.claims import Claim
from hub.library import rows as collector
from routing.checks.gates import GATE_FILES, read_record
from routing.checks.samples import parse_samples
from routing.factors import Factors
from routing.gate_files import read_gates
from routing.gates import train_gates
from routing.rows import Row, encoded_rows
from workers.folders import lay_out, work_folder
from workers.places import loaded_base
from workers.validation import tree_of


@dataclass(frozen=True)
class Made:
    """Gates by module and how they came about; `curve` holds [step, training loss, held-out loss]."""

    gates: Mapping[str, Tensor]
    rows: int
    curve: tuple[tuple[int, float, float], ...]
    best_step: int
    seconds: float
    peak_bytes: int
    rows_digest: str = ""


def brought(_claim: Claim, release: Release, _factors: Mapping[str, Factors]) -> Made:
    """The gates that were trained at home; validation found them sound and of this adapter."""
    files = {path: digest for path, digest in tree_of(release).items() if path in GATE_FILES}
    with work_folder() as folder:
        lay_out(files, folder)
        record, gates = read_record(folder), read_gates(folder)
    return Made(gates, record.rows, record.curve, record.best_step, record.seconds, record.peak_bytes)


def from_samples(claim: Claim, release: Release, factors: Mapping[str, Factors]) -> Made:
    """Trained on the contributor's rows."""
    return _trained(claim, release, factors, str(release.samples_id))


def from_collector(claim: Claim, release: Release, factors: Mapping[str, Factors]) -> Made:
    """Trained on the library's own rows, of which nobody says which expert they are for.

    The loss is the same: a gate learns to open where its expert helps, and to close where it does harm,
    which is most rows.
    """
    given = collector.current(release.library)
    if given is None or given.blob_id is None:
        return Made({}, 0, (), 0, 0.0, 0)  # deleted since the job looked
    return _trained(claim, release, factors, str(given.blob_id))


def _trained(claim: Claim, release: Release, factors: Mapping[str, Factors], rows_digest: str) -> Made:
    def progress(done: int, total: int, note: str) -> None:
        jobs.report_progress(claim, done, total, note)

    base = loaded_base(release.library)
    trained = train_gates(base, factors, rows_of(release, rows_digest), progress=progress)
    return Made(
        trained.gates,
        trained.rows,
        tuple((point.step, point.training, point.held_out) for point in trained.curve),
        trained.best_step,
        trained.seconds,
        trained.peak_bytes,
        rows_digest,
    )


def rows_of(release: Release, rows_digest: str) -> list[Row]:
    """Kept rows in the base's tokens; lines that are no rows are left out."""
    samples, _findings = parse_samples(blobs.local_path(rows_digest).read_bytes())
    return encoded_rows(loaded_base(release.library), samples)


SOURCES: Mapping[str, Callable[[Claim, Release, Mapping[str, Factors]], Made]] = {
    Gates.Source.BROUGHT.value: brought,
    Gates.Source.SAMPLES.value: from_samples,
    Gates.Source.COLLECTOR.value: from_collector,
}
