"""VECTORS: bring a validated release into canonical form, keep it in the index store, make it ready."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hub.adapters import queries
from hub.adapters import services as adapters
from hub.adapters.introductions import Introduction
from hub.adapters.models import Release
from hub.errors import FindingJson
from hub.faults import reach
from hub.jobs import services as jobs
from hub.jobs.claims import Claim
from routing.adapter import read_adapter
from routing.checks.copies import run_copy_checks
from routing.expert_statistics import statistics
from routing.factors import Factors, expert_factors, fingerprint
from routing.prototypes import routing_vectors
from routing.store import StoredExpert
from workers.folders import lay_out, work_folder
from workers.introducing import encoder_now, introduction, keep
from workers.known import fingerprint_bytes, known_experts
from workers.places import base_layers, base_spec, index_store
from workers.plausibility import doubts
from workers.validation import as_json, release_of, tree_of


@dataclass(frozen=True)
class Expert:
    """A release in canonical form, kept in the index store but no member of anything yet."""

    factors: Mapping[str, Factors]
    stored: StoredExpert
    profile: Introduction
    statistics: Mapping[str, Any]
    doubts: Sequence[FindingJson] = ()


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
    jobs.report_progress(claim, 1, 4, "computing factors and prototypes")
    library = release.library
    adapter = read_adapter(folder, base_spec(library))
    factors = expert_factors(adapter, base_layers(library))
    reach("vectors.computed")
    jobs.report_progress(claim, 2, 4, "storing them")
    vectors = routing_vectors(factors)
    stored = index_store().put_expert(vectors, factors)
    profile = keep(introduction(release, folder, encoder_now(library)))
    reach("vectors.stored")
    jobs.report_progress(claim, 3, 4, "looking for copies that came meanwhile, and at its share")
    findings = [] if release.adapter.private else as_json(doubts(release, vectors))
    expert = Expert(factors, stored, profile, statistics(adapter, factors), findings)
    while not admit(claim, release, expert):
        pass  # somebody else was admitted in this moment: compare with them too


def admit(claim: Claim, release: Release, expert: Expert) -> bool:
    """Settle the release against everybody who is ready now. False when that changed meanwhile."""
    library = release.library
    compared_with = queries.admitted(library.pk)
    copies = run_copy_checks(
        expert.factors,
        known_experts(library),
        adapter=release.adapter.full_name,
        layers=base_layers(library),
    )
    if any(finding.severity == "error" for finding in copies):
        adapters.record_report(claim, release.pk, [*release.findings, *as_json(copies)])
        jobs.log(claim, "rejected: the same expert was admitted while this one was being checked")
        return True
    try:
        record(claim, release, expert, compared_with=compared_with)
    except adapters.Overtaken:
        return False
    reach("vectors.recorded")
    held = ", in quarantine: it takes an implausible share of neutral text" if expert.doubts else ""
    jobs.log(claim, f"ready: {len(expert.factors)} modules{held}")
    return True


def record(claim: Claim, release: Release, expert: Expert, *, compared_with: int) -> None:
    adapters.record_vectors(
        claim,
        release.pk,
        vectors_digest=expert.stored.vectors,
        vectors_size=expert.stored.vectors_size,
        factors_digest=expert.stored.factors,
        factors_size=expert.stored.factors_size,
        profile=expert.profile,
        statistics=expert.statistics,
        fingerprint=fingerprint_bytes(fingerprint(expert.factors)),
        compared_with=compared_with,
        doubts=expert.doubts,
    )
