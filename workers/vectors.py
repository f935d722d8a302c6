"""VECTORS: bring a validated release into canonical form, keep it in the index store, make it ready."""

from pathlib import Path

from hub.adapters import services as adapters
from hub.adapters.models import Release
from hub.faults import reach
from hub.jobs import services as jobs
from hub.jobs.claims import Claim
from routing.adapter import read_adapter
from routing.checks.copies import run_copy_checks
from routing.factors import expert_factors, fingerprint, statistics
from routing.prototypes import routing_vectors
from workers.folders import lay_out, work_folder
from workers.known import fingerprint_bytes, known_experts
from workers.places import base_spec, index_store
from workers.validation import as_json, release_of, tree_of


def compute(claim: Claim) -> None:
    reach("vectors.claimed")
    release = release_of(claim)
    if release.status != Release.Status.VALIDATED:
        jobs.log(claim, f"nothing to do: it is {release.status} already")
        return
    with work_folder() as folder:
        lay_out(tree_of(release), folder)
        make_ready(claim, release, folder)


def make_ready(claim: Claim, release: Release, folder: Path) -> None:
    library = release.adapter.library
    jobs.report_progress(claim, 1, 4, "computing factors and prototypes")
    adapter = read_adapter(folder, base_spec(library))
    factors = expert_factors(adapter)
    reach("vectors.computed")
    jobs.report_progress(claim, 2, 4, "looking for copies that came meanwhile")
    copies = run_copy_checks(factors, known_experts(library), adapter=release.adapter.full_name)
    if any(finding.severity == "error" for finding in copies):
        adapters.record_report(claim, release.pk, [*release.findings, *as_json(copies)])
        jobs.log(claim, "rejected: the same expert was admitted while this one was being checked")
        return
    jobs.report_progress(claim, 3, 4, "storing them")
    stored = index_store().put_expert(routing_vectors(factors), factors)
    reach("vectors.stored")
    adapters.record_vectors(
        claim,
        release.pk,
        vectors_digest=stored.vectors,
        vectors_size=stored.vectors_size,
        factors_digest=stored.factors,
        factors_size=stored.factors_size,
        statistics=statistics(adapter, factors),
        fingerprint=fingerprint_bytes(fingerprint(factors)),
    )
    reach("vectors.recorded")
    jobs.log(claim, f"ready: {len(factors)} modules")
