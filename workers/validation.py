"""VALIDATE: lay an upload out, examine it, record every finding.

What the files do to their reader is their fault and becomes a finding; what goes wrong on our side is an
error, and the job is tried again.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import cast

from hub.adapters import services as adapters
from hub.adapters.models import Release
from hub.errors import FindingJson
from hub.faults import reach
from hub.jobs import services as jobs
from hub.jobs.claims import Claim
from routing.checks.report import up_to_errors
from routing.finding import Finding
from workers.examination import STEPS, Examination
from workers.folders import lay_out, work_folder


def validate(claim: Claim) -> None:
    reach("validate.claimed")
    release = release_of(claim)
    if release.status != Release.Status.RECEIVED:
        jobs.log(claim, f"nothing to do: it is {release.status} already")
        return
    with work_folder() as folder:
        examination = laid_out(release, folder)
        reach("validate.laid_out")
        findings = examine(claim, examination)
    reach("validate.verdict_ready")
    adapters.record_report(claim, release.pk, as_json(findings), examination.measurements)
    reach("validate.recorded")
    jobs.log(claim, summary(findings))


def release_of(claim: Claim) -> Release:
    known = Release.objects.select_related("adapter__library", "adapter__owner", "commit")
    return known.get(pk=claim.ids["release_id"])


def tree_of(release: Release) -> dict[str, str]:
    """{path: sha256} of the uploaded files."""
    return dict(release.commit.files.values_list("path", "blob_id"))


def laid_out(release: Release, folder: Path) -> Examination:
    upload, scratch = folder / "upload", folder / "scratch"
    upload.mkdir()
    scratch.mkdir()
    lay_out(tree_of(release), upload)
    return Examination(release, upload, scratch)


def examine(claim: Claim, examination: Examination) -> list[Finding]:
    """Every finding up to the first step that has an error."""

    def taken(step: Callable[[Examination], list[Finding]]) -> list[Finding]:
        findings = step(examination)
        reach(f"validate.{step.__name__}_done")
        return findings

    steps = {note: partial(taken, step) for note, step in STEPS.items()}
    return up_to_errors(steps, partial(jobs.report_progress, claim))


def as_json(findings: Sequence[Finding]) -> list[FindingJson]:
    return [cast("FindingJson", finding.to_json()) for finding in findings]


def summary(findings: Sequence[Finding]) -> str:
    errors = sum(finding.severity == "error" for finding in findings)
    verdict = "rejected" if errors else "accepted"
    return f"{verdict}: {count(errors, 'error')}, {count(len(findings) - errors, 'warning')}"


def count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
