"""What an entry says, read from its adapter: the only place that decides it, for writing and for checking."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hub.adapters import cards, facts, history
from hub.adapters.cards import Card
from hub.adapters.models import Adapter, Commit, Release
from hub.search import words
from hub.search.models import Entry

FORM = 1  # counts up when these rules say something else of the same adapter: workers then write all again
LONGEST_ABOUT = 300
LONGEST_MEANT = 4_000  # characters: more than encoders of sentences read
TASKS = {
    "CAUSAL_LM": "text-generation",
    "SEQ_2_SEQ_LM": "text2text-generation",
    "SEQ_CLS": "text-classification",
    "TOKEN_CLS": "token-classification",
    "QUESTION_ANS": "question-answering",
    "FEATURE_EXTRACTION": "feature-extraction",
}
KINDS = {"(ia)^3": Entry.Kind.IA3, "ia3": Entry.Kind.IA3, "dora": Entry.Kind.DORA, "lora": Entry.Kind.LORA}
FENCED = re.compile(r"^(```|~~~).*?^\1", re.DOTALL | re.MULTILINE)
PICTURE = re.compile(r"!\[[^\]\n]{0,300}\]\([^)\n]{0,2000}\)")
LINK = re.compile(r"\[([^\]\n]{1,300})\]\([^)\n]{0,2000}\)")
TAG = re.compile(r"<[^<>\n]{1,2000}>")
NO_SENTENCE = ("#", "|", ">", "-", "*", "+", "=", "<", "1.", "```", "~~~", "    ")
SEPARATOR = re.compile(r"[-_.]+")
MARKS = re.compile(r"[*`]|\b_|_\b")


def said(adapter: Adapter, commit: Commit | None) -> dict[str, Any]:
    """The fields that follow from its name, its tags and what main says."""
    card = _card(commit)
    tags = list(adapter.tags.values_list("tag", flat=True))
    return {
        "words": words.document(_texts(adapter, tags, card)),
        "about": _about(card.body),
        "task": _task(commit),
        "licence": _first(commit.card.get("license")).lower() if commit else "",
    }


def meant(adapter: Adapter, commit: Commit | None) -> str:
    """What an encoder of meanings reads of it: its name, the tags of its card, and the card's prose."""
    card = _card(commit)
    own = ", ".join(tag for tag in card.facts.get("tags", ()) if ":" not in tag)
    said = [SEPARATOR.sub(" ", adapter.name), own, *_prose(card.body)]
    return ". ".join(part for part in said if part)[:LONGEST_MEANT]


def stands(adapter: Adapter) -> dict[str, Any]:
    """The fields that follow from its releases."""
    releases = adapter.releases.defer("fingerprint", "findings", "measurements").order_by("-number")
    newest = releases.select_related("commit").first()
    measured = newest if newest and newest.statistics else releases.exclude(statistics={}).first()
    summary = measured.statistics.get("summary", {}) if measured else {}
    kind = _kind(summary, newest.commit.config if newest else {})
    return {
        "kind": kind,
        "rank": None if kind == Entry.Kind.IA3 else summary.get("rank_largest"),
        "standing": _standing(newest),
        "newest_at": newest.created_at if newest else None,
    }


def _texts(adapter: Adapter, tags: Sequence[str], card: Card) -> Iterator[str]:
    yield adapter.name
    yield adapter.owner.username
    for tag in tags:
        yield tag.rpartition(":")[2]
    yield PICTURE.sub(" ", card.body)


def _card(commit: Commit | None) -> Card:
    if commit is None:
        return Card("")
    readme = commit.files.select_related("blob").filter(path__iexact=cards.README).first()
    return facts.read_readme({readme.path: readme.blob}) if readme else Card("")


def _about(body: str) -> str:
    """The first paragraph of a card that is prose."""
    return _cut(next(_prose(body), ""))


def _prose(body: str) -> Iterator[str]:
    """The paragraphs of a card that are prose, each as plain text on one line."""
    prose = PICTURE.sub("", FENCED.sub("", body))
    for paragraph in re.split(r"\n[ \t]*\n", prose):
        lines = [line for line in paragraph.split("\n") if not line.startswith(NO_SENTENCE)]
        text = " ".join(MARKS.sub("", TAG.sub("", LINK.sub(r"\1", " ".join(lines)))).split())
        if text:
            yield text


def _cut(text: str) -> str:
    if len(text) <= LONGEST_ABOUT:
        return text
    return text[: LONGEST_ABOUT - 1].rpartition(" ")[0][: LONGEST_ABOUT - 1] + "\N{HORIZONTAL ELLIPSIS}"


def _task(commit: Commit | None) -> str:
    if commit is None:
        return ""
    return _first(commit.card.get("pipeline_tag")) or TASKS.get(commit.config.get("task_type", ""), "")


def _first(value: object) -> str:
    """The first short text of a value that may be one or a list of them."""
    first = next(iter(value), None) if isinstance(value, list) else value
    return first if isinstance(first, str) and len(first) <= facts.LONGEST_WORD else ""


def _kind(summary: Mapping[str, Any], config: Mapping[str, str]) -> Entry.Kind:
    """As measured; before it was, as its configuration says."""
    named = str(summary.get("expert_kind", "LoRA")) if summary else config.get("peft_type", "")
    return next((kind for mark, kind in KINDS.items() if mark in named.lower()), Entry.Kind.UNKNOWN)


def _standing(newest: Release | None) -> Entry.Standing:
    if newest is None:
        return Entry.Standing.EMPTY
    if newest.quarantined_at is not None:
        return Entry.Standing.QUARANTINED
    if newest.yanked_at is not None:
        return Entry.Standing.YANKED
    if newest.status in {Release.Status.READY, Release.Status.REJECTED}:
        return Entry.Standing(newest.status)
    return Entry.Standing.EXAMINED


def whole(adapter: Adapter) -> dict[str, Any]:
    """Every field of an adapter's entry."""
    return {
        **said(adapter, history.head(adapter)),
        **stands(adapter),
        "likes": adapter.likes.count(),
    }
