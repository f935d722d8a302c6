"""Answers in the shapes of OpenAI's API, and our own part of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from routing.engine import Step
from routing.generation import Generation
from routing.routes import Narrowed
from routing.streaming import TextToken
from routing.work import Finish, Work
from workers.serving.followers import Follower
from workers.serving.targets import Target
from workers.serving.tool_calls import CallReader
from workers.serving.voices import Voices

WEIGHT_DIGITS = 4
SHARE_DIGITS = 6
MOST_PRIOR_EXPERTS = 64  # that a trace names; the others said less


class Shape(Protocol):
    """How one kind of completion is written."""

    prefix: str
    whole_object: str
    chunk_object: str

    def begin(self) -> Writing:
        """A choice of which nothing is written yet."""

    def whole(self, writing: Writing, tokenizer: Any) -> dict[str, Any]:
        """The fields of a finished choice, besides its index and the reason of its end."""

    def first(self) -> dict[str, Any] | None:
        """The fields of the chunk that opens a choice in a stream, if there is one."""

    def piece(self, tokens: Sequence[TextToken], tokenizer: Any, writing: Writing) -> dict[str, Any]:
        """The fields of a chunk with these tokens, which the choice has taken already."""


@dataclass(frozen=True)
class Envelope:
    """What all chunks of one answer have in common."""

    id: str
    created: int
    model: str
    target: Target

    def of(self, kind: str, choices: Sequence[Mapping[str, Any]], **more: Any) -> dict[str, Any]:
        """A response or chunk object."""
        version = self.target.version
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": None if version is None else version.fingerprint,
            "choices": list(choices),
            **more,
        }


@dataclass
class Writing:
    """A choice as it is being written."""

    reader: CallReader | None = None  # what finds calls of tools in it
    voices: Voices | None = None  # what says of its tokens who spoke
    tokens: list[TextToken] = field(default_factory=list)
    length: int = 0
    finish: Finish | None = None

    @property
    def reason(self) -> str | None:
        """Why it ended, as clients know it; None before."""
        called = self.finish == "stop" and self.reader is not None and bool(self.reader.calls)
        return "tool_calls" if called else self.finish

    def add(self, step: Step) -> None:
        """Take more tokens, and the end if it has come."""
        self.tokens += step.tokens
        self.length += sum(len(token.text) for token in step.tokens)
        self.finish = step.finish

    def heard(self, tokens: Sequence[TextToken]) -> dict[str, Any]:
        """Who spoke in tokens that it has taken, if that was asked for."""
        return {} if self.voices is None else {"fletch": self.voices.of(tokens)}


def usage(works: Sequence[Work], choices: int) -> dict[str, Any]:
    """Tokens read, or recalled instead, and written so far; a prompt with several choices counts once."""
    prompts = [works[start : start + choices] for start in range(0, len(works), choices)]
    read = sum(max(work.prompt_behind for work in prompt) for prompt in prompts)
    written = sum(work.completion_tokens for work in works)
    recalled = sum(max(work.recalled_tokens for work in prompt) for prompt in prompts)
    return {
        "prompt_tokens": read,
        "completion_tokens": written,
        "total_tokens": read + written,
        "prompt_tokens_details": {"cached_tokens": recalled},
    }


@dataclass
class Spoken:
    """Who spoke in some works that have ended, each of which counts alike."""

    works: int = 0
    narrowed: Narrowed | None = None  # what had to make do with fewer experts first, if anything had
    totals: dict[str, float] = field(default_factory=dict)  # shares by expert

    def add(self, work: Work) -> None:
        """Take another."""
        self.works += 1
        self.narrowed = self.narrowed or work.narrowed
        for name, share in ({} if work.shares is None else work.shares.by_expert()).items():
            self.totals[name] = self.totals.get(name, 0.0) + share

    @property
    def shares(self) -> list[tuple[str, float]]:
        """The largest first."""
        shares = [(name, total / self.works) for name, total in self.totals.items()]
        return sorted(shares, key=lambda item: (-item[1], item[0]))


def provenance(target: Target, works: Sequence[Work]) -> dict[str, Any]:
    """Who answered, what was left out of a form, and which experts spoke, and where if that was asked for."""
    spoken = Spoken()
    for work in works:
        spoken.add(work)
    said, trace = who_spoke(target, spoken), _trace(target, works[0])
    if not_kept := _not_kept(works):
        said["not_kept"] = not_kept
    return said if trace is None else {**said, **_prior(target, works[0]), "trace": trace}


def who_spoke(target: Target, spoken: Spoken) -> dict[str, Any]:
    """Which library and version answered, and which experts spoke."""
    version, narrowed = target.version, spoken.narrowed
    said: dict[str, Any] = {
        "library": target.library,
        "version": None if version is None else version.number,
        "manifest": None if version is None else version.manifest,
        "experts": [{"adapter": name, "share": round(share, SHARE_DIGITS)} for name, share in spoken.shares],
    }
    if narrowed is not None:
        said["narrowed"] = {"from": narrowed.experts, "to": narrowed.kept, "prior": narrowed.prior}
    if version is not None and version.guests is not None:
        said["private"] = {"experts": version.guests.names, "digest": version.guests.digest}
    return said


def _not_kept(works: Sequence[Work]) -> list[str]:
    """What of the schemas that the answers are held to, and that are not strict, nobody kept to."""
    guides = (work.guide for work in works if isinstance(work, Generation))
    said = (one for guide in guides if isinstance(guide, Follower) for one in guide.not_kept)
    return list(dict.fromkeys(said))


def _prior(target: Target, work: Work) -> dict[str, Any]:
    """What was made of the whole prompt, if anything was: the best experts, and what nobody would get."""
    way = work.route
    if way is None or way.said is None or target.version is None:
        return {}
    said, names = way.said, target.version.pack.experts
    probabilities = said.experts.softmax(-1).tolist()
    scored = zip(names, said.experts.tolist(), probabilities, strict=True)
    best = sorted((one for one in scored if math.isfinite(one[1])), key=lambda one: -one[1])
    experts = [
        {"adapter": name, "score": round(score, WEIGHT_DIGITS), "probability": round(share, SHARE_DIGITS)}
        for name, score, share in best[:MOST_PRIOR_EXPERTS]
    ]
    nobody = round(said.nobody(), WEIGHT_DIGITS)
    return {"prior": {"name": said.prior, "nobody": nobody, "abstained": not way.seats, "experts": experts}}


def _encoded(target: Target, work: Work) -> dict[str, Any]:
    """What an encoder read: its modules, and those that read what it made, have these tokens."""
    base = target.model.base
    if base.family.name == "causal":
        return {}
    return {"encoder_tokens": [base.tokenizer.decode([token]) for token in work.prompt]}


def _trace(target: Target, work: Work) -> dict[str, Any] | None:
    """For each module and token: experts as places in `experts`, and their weights."""
    if work.trace is None or target.version is None:
        return None
    tokenizer = target.model.base.tokenizer
    return {
        "experts": list(target.version.pack.experts),
        "tokens": [tokenizer.decode([token]) for token in work.read_tokens],
        **_encoded(target, work),
        "modules": {
            name: {
                "experts": module.experts.tolist(),
                "weights": module.weights.double().round(decimals=WEIGHT_DIGITS).tolist(),
            }
            for name, module in work.trace.by_module().items()
        },
    }
