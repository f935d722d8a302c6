"""A contributor's sample rows: JSON lines of {"prompt", "completion"}, parsed as strangers' data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from routing.errors import BadAdapter
from routing.finding import Finding
from routing.strict_json import parse_strict

CHECK = "samples"
FILE = "samples.jsonl"
MAX_BYTES = 4 * 2**20
MAX_ROWS = 1000
MAX_CHARACTERS = 20_000
FIELDS = ("prompt", "completion")


@dataclass(frozen=True)
class Sample:
    """A prompt and the completion that the expert has learnt to give."""

    prompt: str
    completion: str


def parse_samples(content: bytes) -> tuple[list[Sample], list[Finding]]:
    """The sound rows of a sample file, and a finding for each of the others; empty lines are skipped."""
    if len(content) > MAX_BYTES:
        return [], [_error("", f"{len(content)} bytes", f"at most {MAX_BYTES}")]
    lines = [(number, line) for number, line in enumerate(content.split(b"\n"), 1) if line.strip()]
    if not lines or len(lines) > MAX_ROWS:
        return [], [_error("", f"{len(lines)} rows", f"1 to {MAX_ROWS}")]
    samples: list[Sample] = []
    findings: list[Finding] = []
    for number, line in lines:
        try:
            samples.append(_sample(parse_strict(line, file=FILE, check=CHECK, max_depth=2), f"line {number}"))
        except BadAdapter as error:
            findings += [
                _error(f"line {number}", finding.found, finding.expected) for finding in error.findings
            ]
    return samples, findings


def _sample(row: Any, line: str) -> Sample:
    if not isinstance(row, dict) or not all(isinstance(row.get(field), str) for field in FIELDS):
        found = f"the fields {sorted(row)}" if isinstance(row, dict) else type(row).__name__
        raise BadAdapter([_error(line, found, 'text in "prompt" and "completion"')])
    sample = Sample(row["prompt"], row["completion"])
    if not sample.completion.strip():
        raise BadAdapter([_error(line, "an empty completion", "what the expert should answer")])
    if len(sample.prompt) + len(sample.completion) > MAX_CHARACTERS:
        raise BadAdapter([_error(line, "a very long row", f"at most {MAX_CHARACTERS} characters")])
    return sample


def _error(field: str, found: str, expected: str) -> Finding:
    fix = "Give one JSON object a line, as in the documentation, or upload without samples."
    return Finding(CHECK, "error", FILE, field, found, expected, fix)
