"""The report on an upload: all checks in one order, the harmless first, on the hub and at home."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from routing.adapter import Adapter, read_adapter
from routing.base import Base
from routing.checks.behaviour import default_neutral_text, run_behaviour_checks
from routing.checks.numbers import FactorsOf, run_number_checks
from routing.checks.samples import parse_samples
from routing.checks.static import run_static_checks
from routing.checks.steps import BEHAVIOUR, FILES, NUMBERS
from routing.errors import RoutingError
from routing.factors import expert_factors
from routing.finding import Finding
from routing.gate_files import run_gate_checks
from routing.spec import BaseSpec
from routing.training import Progress
from routing.weights import layers_of

MEASURED = {"neutral": "neutral", "samples": "sample"}


@dataclass
class Report:
    """What was found and measured, and by which steps."""

    findings: list[Finding] = field(default_factory=list)
    measurements: dict[str, Any] = field(default_factory=dict)
    done: list[str] = field(default_factory=list)


def up_to_errors(steps: Mapping[str, Callable[[], list[Finding]]], progress: Progress) -> list[Finding]:
    """Every finding up to the first step that has an error: the later steps rely on the earlier."""
    findings: list[Finding] = []
    for done, (name, step) in enumerate(steps.items()):
        progress(done, len(steps), name)
        findings += step()
        if any(finding.severity == "error" for finding in findings):
            break
    return findings


def number_findings(directory: Path, spec: BaseSpec, factors_of: FactorsOf = expert_factors) -> list[Finding]:
    """What is wrong with the numbers of an adapter, and of the gates that come with it."""
    return [*run_number_checks(directory, spec, factors_of), *run_gate_checks(directory)]


def behaviour_findings(
    adapter: Adapter, base: Base, rows: bytes | None
) -> tuple[list[Finding], dict[str, Any]]:
    """What is wrong with what it does, on neutral text and on its author's rows, and the losses there."""
    samples, complaints = parse_samples(rows) if rows is not None else ([], [])
    findings, losses = run_behaviour_checks(adapter, base, default_neutral_text(), samples)
    return [*complaints, *findings], _flat(losses, rows=len(samples))


def report_with_base(directory: Path, base: Base, rows: bytes | None, progress: Progress) -> Report:
    """All that the hub would find, except copies of what its library holds."""
    report = Report()

    def numbers() -> list[Finding]:
        return number_findings(directory, base.spec, lambda known: expert_factors(known, layers_of(base)))

    def behaviour() -> list[Finding]:
        findings, measured = behaviour_findings(read_adapter(directory, base.spec), base, rows)
        report.measurements |= measured
        return findings

    steps = {FILES: lambda: run_static_checks(directory, base.spec), NUMBERS: numbers, BEHAVIOUR: behaviour}
    return _filled(report, steps, progress)


def report_without_base(directory: Path, spec: BaseSpec, progress: Progress) -> Report:
    """What can be found without the base's weights. Kinds that work through them have no numbers here."""
    report = Report()

    def numbers() -> list[Finding]:
        try:
            return number_findings(directory, spec)
        except RoutingError:
            report.done.remove(NUMBERS)
            return run_gate_checks(directory)

    return _filled(report, {FILES: lambda: run_static_checks(directory, spec), NUMBERS: numbers}, progress)


def _filled(report: Report, steps: Mapping[str, Callable[[], list[Finding]]], progress: Progress) -> Report:
    def noting(done: int, total: int, name: str) -> None:
        report.done.append(name)
        progress(done, total, name)

    report.findings = up_to_errors(steps, noting)
    return report


def _flat(losses: Mapping[str, Mapping[str, Any]], *, rows: int) -> dict[str, Any]:
    """The losses as the pages show them: neutral_loss_base, neutral_loss_adapted, sample_loss_base, ..."""
    measured = {
        f"{MEASURED[text]}_loss_{side}": loss[side]
        for text, loss in losses.items()
        for side in ("base", "adapted")
    }
    return {**measured, "sample_rows": rows} if "samples" in losses else measured
