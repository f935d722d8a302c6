"""The checks that need nothing but Python: they run on the raw upload, in a process that may be killed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from routing.checks.config import base_is_the_librarys, config_is_of_a_known_kind, task_is_the_librarys
from routing.checks.files import other_files_are_ignored, tensors_are_safetensors, tokenizer_is_the_bases
from routing.checks.gates import gates_are_for_this_adapter
from routing.checks.tensors import (
    tensor_file_is_sound,
    tensors_are_the_declared_targets,
    tensors_fit_the_base,
)
from routing.finding import Finding
from routing.spec import BaseSpec

MAX_FINDINGS = 200

STATIC_CHECKS: tuple[Callable[[Path, BaseSpec], Iterator[Finding]], ...] = (
    tensors_are_safetensors,
    other_files_are_ignored,
    config_is_of_a_known_kind,
    task_is_the_librarys,
    base_is_the_librarys,
    tokenizer_is_the_bases,
    tensor_file_is_sound,
    tensors_fit_the_base,
    tensors_are_the_declared_targets,
    gates_are_for_this_adapter,
)


def run_static_checks(directory: Path, spec: BaseSpec) -> list[Finding]:
    """Every finding of every static check about the PEFT folder `directory`, errors first."""
    found = [finding for check in STATIC_CHECKS for finding in check(directory, spec)]
    ordered = sorted(found, key=lambda finding: finding.severity)
    if len(ordered) <= MAX_FINDINGS:
        return ordered
    rest = f"{len(ordered) - MAX_FINDINGS} more findings"
    return [
        *ordered[:MAX_FINDINGS],
        Finding("files", ordered[0].severity, ".", "", rest, "fewer at once", "Correct these first."),
    ]
