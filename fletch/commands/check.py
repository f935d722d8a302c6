"""`fletch check`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fletch import bases, cards, options, screen
from fletch.account import account
from fletch.command import Outcome, computing
from fletch.command import command as make
from fletch.exits import CommandError, Exit
from fletch.hub import Hub
from fletch.spec import spec_of
from routing.checks.samples import parse_samples
from routing.checks.static import run_static_checks
from routing.checks.steps import FILES, STEPS
from routing.finding import Finding
from routing.spec import BaseSpec


@make("check")
@options.folder
@options.library
@options.hub
@options.base(required=False)
@options.revision
@options.rows(required=False)
@options.device
def command(
    *,
    folder: Path,
    library: str | None,
    hub: str | None,
    base: str | None,
    revision: str | None,
    rows: Path | None,
    device: str | None,
) -> Outcome:
    """Check the adapter in FOLDER as the hub will: the same checks, the same findings.

    Nothing but the description of the library's base is fetched, and nothing is sent. With --base the adapter
    is also tried on the base model; with --base alone no hub is asked. Whether it copies what the library
    already holds, only the hub can say.
    """
    slug = library or (None if base else cards.library_of(folder))
    if slug is None and base is None:
        raise CommandError(Exit.USAGE, "name the --library that it is for, or its --base")
    spec = spec_of(Hub(account(hub)), slug) if slug else None
    if spec is not None and _has_errors(files := run_static_checks(folder, spec)):
        return _outcome(folder, files, [FILES], {})  # before anything heavy is loaded
    said = rows.read_bytes() if rows else None
    if base is None:
        assert spec is not None
        return _without_base(folder, spec, said)
    with screen.steps("checking") as report:
        report(0, 1, "loading the base model")
        loaded = bases.loaded(base, revision, device, spec=spec)
        found = computing("routing.checks.report").report_with_base(folder, loaded, said, report)
    return _outcome(folder, found.findings, found.done, found.measurements)


def _without_base(folder: Path, spec: BaseSpec, rows: bytes | None) -> Outcome:
    """What needs no weights of the base; the numbers too, where torch is installed."""
    try:
        reports = computing("routing.checks.report")
    except CommandError:
        findings, done = run_static_checks(folder, spec), [FILES]
    else:
        with screen.steps("checking") as report:
            found = reports.report_without_base(folder, spec, report)
        findings, done = found.findings, found.done
    if rows is not None and not _has_errors(findings):
        findings = [*findings, *parse_samples(rows)[1]]
    return _outcome(folder, findings, done, {})


def _has_errors(findings: Sequence[Finding]) -> bool:
    return any(finding.severity == "error" for finding in findings)


def _outcome(
    folder: Path, findings: Sequence[Finding], done: Sequence[str], measurements: dict[str, Any]
) -> Outcome:
    errors = sum(finding.severity == "error" for finding in findings)
    verdict = "rejected" if errors else "accepted"
    left = [step for step in STEPS if step not in done]
    document = {
        "folder": str(folder),
        "verdict": verdict,
        "findings": [finding.to_json() for finding in findings],
        "measurements": measurements,
        "done": list(done),
        "left_to_the_hub": left,
    }
    lines = [screen.finding_line(finding.to_json()) for finding in findings]
    warnings = len(findings) - errors
    lines.append(f"{verdict}: {errors} errors, {warnings} warnings, by {', '.join(done)}")
    lines.append(f"left to the hub: {', '.join(left)}")
    return Outcome(document, "\n".join(lines), Exit.NO if errors else Exit.DONE)
