"""Questions that anybody may read beside a table: which suites allow it, what is published, and how much."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from evaluation.catalogue import Suite
from evaluation.shown import LONGEST_ANSWER, LONGEST_PROMPT, Question, Said
from evaluation.speakers import Speakers
from routing.errors import RoutingError

MOST_OF_A_MEMBER = 50
MOST_BYTES = 1_000_000  # as JSON: a hub takes 1 MiB
ENDED = "\N{HORIZONTAL ELLIPSIS}"


class NotToBeShown(RoutingError):
    """Questions were to be published that nobody said may be, or more than are shown."""


def require_may_be_shown(suite: Suite, count: int) -> None:
    """NotToBeShown unless the suite says that its questions may be shown to anybody."""
    if not 1 <= count <= MOST_OF_A_MEMBER:
        raise NotToBeShown(f"--questions: found {count}, expected 1 to {MOST_OF_A_MEMBER}")
    if not suite.may_be_shown:
        raise NotToBeShown(
            f"{suite.path}: found no `may_be_shown` in its metadata, so its questions stay here. Where you "
            f"know that the data sets' licences and authors allow it (many ask that test questions are not "
            f"put on the web), copy the suite's file, write under which licence there, and name your file"
        )


def notice(suite: Suite, count: int, where: str) -> str:
    """What will be published, in the words that whoever answers for it reads before it happens."""
    return (
        f"--questions {count}: {where} will show to everybody who opens the library's leaderboard, beside "
        f"the table, up to {count} questions of each member of {suite.name}: the whole prompt (up to "
        f"{LONGEST_PROMPT:,} characters), the answer that is expected, what each way to answer said, and "
        f"which experts spoke. They may be shown, as the suite says: {suite.may_be_shown}. A maintainer "
        f"deletes them for good on the evaluation's page, or by DELETE /api/v1/evaluations/ID/questions"
    )


def document(questions: Mapping[str, Sequence[Question]], suite: Suite) -> dict[str, Any]:
    """The questions as JSON of `MOST_BYTES` at most: what is said by layer goes first, then questions go, as
    many of each member, down to a beginning of its list.
    """
    longest = max((len(some) for some in questions.values()), default=0)
    whole = _document(questions, suite, longest, by_layer=True)
    while size(whole) > MOST_BYTES and longest > 0:
        whole = _document(questions, suite, longest, by_layer=False)
        longest -= 1
    return whole


def size(found: Any) -> int:
    """Bytes of it as compact JSON."""
    return len(json.dumps(found, ensure_ascii=False, separators=(",", ":")).encode())


def _document(
    questions: Mapping[str, Sequence[Question]], suite: Suite, count: int, *, by_layer: bool
) -> dict[str, Any]:
    shown = {name: some[:count] for name, some in questions.items() if some[:count]}
    answers = [said for some in shown.values() for one in some for said in one.answers.values()]
    layers = sorted({layer for said in answers for layer in said.speakers.layers}) if by_layer else []
    members = {name: [_question(one, layers) for one in some] for name, some in shown.items()}
    return {"terms": suite.may_be_shown, "layers": layers, "members": members}


def _question(one: Question, layers: Sequence[int]) -> dict[str, Any]:
    prompt = _clean(one.prompt)
    return {
        "task": one.choice.task.rpartition("::")[2],
        "question": one.choice.question,
        "differs": one.choice.differs,
        "metric": one.metric,
        "prompt": prompt[:LONGEST_PROMPT],
        "cut": len(prompt) > LONGEST_PROMPT,
        "expected": _short(one.expected),
        "answers": [_answer(way, said, layers) for way, said in one.answers.items()],
    }


def _answer(way: str, said: Said, layers: Sequence[int]) -> dict[str, Any]:
    return {
        "variant": way,
        "score": said.score,
        "right": said.right,
        "text": _short(said.text),
        "taken": _short(said.taken),
        "shares": dict(said.speakers.shares),
        "by_layer": _by_layer(said.speakers, layers) if layers else {},
    }


def _by_layer(speakers: Speakers, layers: Sequence[int]) -> dict[str, list[float]]:
    """On the layers that all answers share; where a way routes nothing, nobody spoke."""
    rows = {name: dict(zip(speakers.layers, row, strict=True)) for name, row in speakers.by_layer.items()}
    return {name: [row.get(layer, 0.0) for layer in layers] for name, row in rows.items()}


def _short(text: str) -> str:
    clean = _clean(text)
    return clean if len(clean) <= LONGEST_ANSWER else clean[: LONGEST_ANSWER - 1] + ENDED


def _clean(text: str) -> str:
    """Without what no database and no page can hold: a character of no value, and halves of pairs."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()
