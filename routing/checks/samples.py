"""Sample rows: JSON lines of {"prompt", "completion"} or {"messages"}, parsed as strangers' data."""

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
MAX_DEPTH = 3  # an object with a list of objects
FIELDS = ("prompt", "completion")
TURN_FIELDS = ("role", "content")
ROLES = ("system", "user", "assistant")
SHAPES = 'text in "prompt" and "completion", or a conversation in "messages"'


@dataclass(frozen=True)
class Turn:
    """What one side of a conversation said."""

    role: str
    content: str


@dataclass(frozen=True)
class Sample:
    """A prompt and the completion that the expert has learnt to give.

    A row of a conversation has its `turns` up to the last answer, which is the completion; its prompt is what
    was said last before it.
    """

    prompt: str
    completion: str
    turns: tuple[Turn, ...] = ()


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
            samples.append(
                _sample(parse_strict(line, file=FILE, check=CHECK, max_depth=MAX_DEPTH), f"line {number}")
            )
        except BadAdapter as error:
            findings += [
                _error(f"line {number}", finding.found, finding.expected) for finding in error.findings
            ]
    return samples, findings


def _sample(row: Any, line: str) -> Sample:
    if isinstance(row, dict) and "messages" in row and not set(FIELDS) & set(row):
        sample = _conversation(row["messages"], line)
    elif isinstance(row, dict) and all(isinstance(row.get(field), str) for field in FIELDS):
        sample = Sample(row["prompt"], row["completion"])
    else:
        found = f"the fields {sorted(row)}" if isinstance(row, dict) else type(row).__name__
        raise BadAdapter([_error(line, found, SHAPES)])
    if not sample.completion.strip():
        raise BadAdapter([_error(line, "an empty completion", "what the expert should answer")])
    said = sum(len(turn.content) for turn in sample.turns) or len(sample.prompt)
    if said + len(sample.completion) > MAX_CHARACTERS:
        raise BadAdapter([_error(line, "a very long row", f"at most {MAX_CHARACTERS} characters")])
    return sample


def _conversation(messages: Any, line: str) -> Sample:
    """A row whose last message is the answer to be learnt."""
    if not isinstance(messages, list) or not all(_is_turn(message) for message in messages):
        raise BadAdapter([_error(line, "other messages", f"a role of {', '.join(ROLES)}, and its content")])
    turns = [Turn(message["role"], message["content"]) for message in messages]
    if len(turns) < 2 or turns[-1].role != "assistant":  # noqa: PLR2004 - a question and its answer
        raise BadAdapter(
            [_error(line, f"{len(turns)} messages", "a question, and the assistant's answer last")]
        )
    return Sample(turns[-2].content, turns[-1].content, tuple(turns[:-1]))


def _is_turn(message: Any) -> bool:
    return (
        isinstance(message, dict)
        and set(message) == set(TURN_FIELDS)
        and message["role"] in ROLES
        and isinstance(message["content"], str)
    )


def _error(field: str, found: str, expected: str) -> Finding:
    fix = "Give one JSON object a line, as in the documentation, or upload without samples."
    return Finding(CHECK, "error", FILE, field, found, expected, fix)
