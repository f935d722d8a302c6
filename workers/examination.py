"""The checks of one upload, from the harmless to the costly; the later ones rely on the earlier."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from hub.adapters.models import Release
from hub.blobs import services as blobs
from routing.adapter import Adapter, read_adapter
from routing.checks.copies import run_copy_checks
from routing.checks.report import behaviour_findings, number_findings
from routing.checks.steps import BEHAVIOUR, COPIES, FILES, NUMBERS
from routing.factors import Factors, expert_factors
from routing.finding import Finding
from routing.spec import BaseSpec
from workers.known import known_experts
from workers.places import base_layers, base_spec, loaded_base
from workers.sandbox import Limits, run_confined

LIMITS = Limits()


class ChecksBroke(RuntimeError):
    """The checks themselves failed; the upload is not to blame."""


@dataclass
class Examination:
    """A laid out upload under examination, and what was measured of it so far."""

    release: Release
    upload: Path
    scratch: Path
    measurements: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def spec(self) -> BaseSpec:
        return base_spec(self.release.library)

    @cached_property
    def adapter(self) -> Adapter:
        return read_adapter(self.upload, self.spec)

    @cached_property
    def factors(self) -> Mapping[str, Factors]:
        return expert_factors(self.adapter, base_layers(self.release.library))

    def files(self) -> list[Finding]:
        """A stranger's bytes are first read where they can do no harm."""
        return static_findings(self.upload, self.spec, scratch=self.scratch)

    def numbers(self) -> list[Finding]:
        return number_findings(self.upload, self.spec, lambda _adapter: self.factors)

    def copies(self) -> list[Finding]:
        library = self.release.library
        name, layers = self.release.adapter.full_name, base_layers(library)
        return run_copy_checks(self.factors, known_experts(library), adapter=name, layers=layers)

    def behaviour(self) -> list[Finding]:
        rows = self._sample_bytes() if self.release.samples_id else None
        findings, losses = behaviour_findings(self.adapter, loaded_base(self.release.library), rows)
        self.measurements |= losses
        return findings

    def _sample_bytes(self) -> bytes:
        return blobs.local_path(str(self.release.samples_id)).read_bytes()


STEPS: Mapping[str, Callable[[Examination], list[Finding]]] = {
    FILES: Examination.files,
    NUMBERS: Examination.numbers,
    COPIES: Examination.copies,
    BEHAVIOUR: Examination.behaviour,
}


def static_findings(upload: Path, spec: BaseSpec, *, scratch: Path, limits: Limits = LIMITS) -> list[Finding]:
    """The static checks in a disposable child. Raises ChecksBroke when it is the checks that are broken."""
    described = scratch / "base.json"
    described.write_text(json.dumps(spec.to_json()))
    command = ["-m", "routing.checks", str(upload), str(described)]
    outcome = run_confined(command, scratch=scratch, limits=limits)
    if outcome.hit_a_limit:
        return [exhausting(limits)]
    if outcome.status != 0:
        raise ChecksBroke(f"the checks ended with status {outcome.status}: {outcome.errors[-500:]}")
    return [Finding(**finding) for finding in json.loads(outcome.output)["findings"]]


def exhausting(limits: Limits) -> Finding:
    """Said of files whose mere reading uses up what a check may use."""
    return Finding(
        check="readable",
        severity="error",
        file=".",
        field="",
        found="files that cannot be read within the limits of a check",
        expected=f"to be read in {limits.cpu_seconds} s with {limits.memory >> 30} GiB of memory",
        fix="Save the adapter again with peft's save_pretrained.",
    )
