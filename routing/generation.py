"""One answer on its way: its own memory, source of chance and text, one forward pass at a time."""

from __future__ import annotations

import logging
from collections.abc import Hashable
from dataclasses import dataclass, field

from jaxtyping import Float
from torch import Tensor

from routing.guidance import Guide
from routing.penalties import Bent
from routing.prefixes import Recalled
from routing.ragged import Strand
from routing.routed import RoutedModel
from routing.routes import Route
from routing.sampling import Likelihood, Sampling, draw, likelihood
from routing.streaming import Speller, StopWatch, TextToken
from routing.together import Heard, Reading, Wants
from routing.traces import ModuleTrace, joined
from routing.uses import Uses
from routing.voices import Voice, last_voice
from routing.work import PREFILL_CHUNK, Finish, Work

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Request:
    """What is asked of the model. `route` None is the plain base; `logprobs` is a number of alternatives.

    With `ignore_ends` it goes on behind a token that would end it; a guide's form cannot be gone on from.
    With `trace` every selection is kept, with `voices` each token says who spoke where it was predicted.
    `choice` tells apart the answers to one prompt, so that each draws its own tokens from one seed. Answers
    to one caller with an equal `conversation` do not read again what they have in common (see
    `routing.prefixes`).
    """

    prompt: tuple[int, ...]
    max_tokens: int
    route: Route | None = None
    sampling: Sampling = field(default_factory=Sampling)
    stop: tuple[str, ...] = ()
    ignore_ends: bool = False
    logprobs: int | None = None
    echo: bool = False
    trace: bool = False
    voices: bool = False
    choice: int = 0
    conversation: str | None = None

    @property
    def length(self) -> int:
        """Tokens that its memory may have to hold."""
        return len(self.prompt) + self.max_tokens


class Generation(Work):
    """The state of one answer, with its own source of chance and text."""

    def __init__(
        self, model: RoutedModel, request: Request, *, guide: Guide | None = None, uses: Uses | None = None
    ) -> None:
        """With a `guide` the answer ends where that calls it complete, or at an end token that it allows."""
        super().__init__(
            model, request.prompt, request.route, most=request.length, trace=request.trace, uses=uses
        )
        self.request = request
        self.guide = guide
        self._ends = frozenset[int]() if request.ignore_ends else end_tokens(model)
        self._chance = request.sampling.generator(request.choice)
        self._bent: Bent | None = None
        self._text = Speller(model.base.tokenizer, self._unread)
        self._stops = StopWatch(request.stop)
        self._echo = Speller(model.base.tokenizer)
        self._before: Float[Tensor, " vocabulary"] | None = None
        self._spoken: list[ModuleTrace] = []
        self._voice: Voice | None = None
        self._begun = False

    @property
    def speaks(self) -> bool:
        return len(self._unread) == 1 and self._before is not None

    @property
    def looks_back(self) -> bool:
        return self.request.conversation is not None

    @property
    def read_like(self) -> Hashable | None:
        asked = self.request
        wanted = (asked.echo, self._says_likelihoods, self.trace is None, asked.conversation, self.caller)
        return (id(self.model), self.prompt, id(self.route), *wanted)

    def begin(self) -> None:
        if self._begun:
            return
        self._begun = True
        found = self._found() if self._common is None or not self._common.looked else self._common.recalled
        if self._common is not None and not self._common.looked:
            self._common.recall(found)
        if found is not None:
            self._go_on_from(found)

    def reading(self, most: int = PREFILL_CHUNK) -> Reading:
        if self._common is not None and self.common is None:
            self._part()
        every = self._echoes and self._says_likelihoods
        wants: Wants = "every logit" if every else "last logits"
        return Reading(tuple(self._unread[:most]), self._memory, self.route, wants)

    def hear(self, reading: Reading, heard: Heard) -> list[TextToken]:
        self._count_uses(heard)
        return self._go_on(reading, heard)

    def overhear(self, reading: Reading, heard: Heard) -> list[TextToken]:
        self.begin()
        self.overheard_tokens += len(reading.tokens)
        return self._go_on(reading, heard)

    def _go_on(self, reading: Reading, heard: Heard) -> list[TextToken]:
        self._unread = self._unread[len(reading.tokens) :]
        self._listen(heard)
        echoed = self._echo_of(reading.tokens, heard.logits) if self._echoes else []
        self.read_tokens += reading.tokens
        self._before = heard.logits[-1]
        if self.request.voices and heard.record is not None and not self._unread:
            self._voice = last_voice(heard.record, heard.tokens, read=len(reading.tokens))
        return echoed if self._unread else echoed + self._speak()

    def _part(self) -> None:
        """Go on from the prompt alone, with a memory of its own."""
        assert self._common is not None
        self._memory, self._common = self._common.taken(), None
        if isinstance(self._memory, Strand):
            self._memory.most = self.request.length

    def _listen(self, heard: Heard) -> None:
        super()._listen(heard)
        if heard.record is not None and self._remembers and heard.record.modules:
            self._spoken.append(heard.record.side_by_side.of(heard.tokens).compact())

    @property
    def _remembers(self) -> bool:
        """Whether this answer is part of a conversation whose beginning is kept."""
        asked = self.request.conversation is not None and self.model.prefixes is not None
        return asked and isinstance(self._memory, Strand)

    @property
    def _kept_under(self) -> Hashable:
        """Whoever else chooses the same name for a conversation must not learn what was said in this one."""
        return (self.caller, self.request.conversation)

    def _found(self) -> Recalled | None:
        """What an earlier answer of the conversation read, where nobody asks about its tokens."""
        request, prefixes = self.request, self.model.prefixes
        if not self._remembers or prefixes is None or self.trace is not None or request.echo:
            return None
        try:
            return prefixes.recall(self._kept_under, request.route, request.prompt)
        except Exception as error:  # noqa: BLE001 - what costs time alone must not cost the answer
            log.warning("the beginning of a conversation is read again, it could not be recalled: %s", error)
            return None

    def _go_on_from(self, found: Recalled) -> None:
        length = self.recalled_tokens = found.length
        self._memory = found.strand
        found.strand.most = self.request.length
        self.read_tokens, self._unread = self._unread[:length], self._unread[length:]
        if found.spoken is not None and self.shares is not None:
            self.shares.recall(found.spoken)
            self._spoken.append(found.spoken)

    def _keep(self) -> None:
        """Leave what was read to the next answer of the conversation."""
        request, prefixes, memory = self.request, self.model.prefixes, self._memory
        if not self._remembers or prefixes is None or not isinstance(memory, Strand):
            return
        try:
            spoken = joined(self._spoken) if self._spoken else None
            prefixes.keep(self._kept_under, request.route, self.read_tokens, memory, spoken)
        except Exception as error:  # noqa: BLE001 - as above
            log.warning("what an answer has read is not kept for the next of its conversation: %s", error)

    @property
    def _echoes(self) -> bool:
        return self.request.echo and len(self.read_tokens) < len(self.request.prompt)

    @property
    def _says_likelihoods(self) -> bool:
        return self.request.logprobs is not None

    def _echo_of(
        self, chunk: tuple[int, ...], logits: Float[Tensor, "positions vocabulary"]
    ) -> list[TextToken]:
        """The prompt's own tokens; the very first has no likelihood, since nothing came before it."""
        tokens = []
        for place, token in enumerate(chunk):
            likely = self._says_likelihoods  # without them the pass gave the last token's logits alone
            before = self._before if not place or not likely else logits[place - 1]
            tokens += self._echo.push(token, self._likelihood(before, token))
        return tokens if self._unread else tokens + self._echo.rest()

    def _likelihood(self, logits: Float[Tensor, " vocabulary"] | None, token: int) -> Likelihood | None:
        if self.request.logprobs is None or logits is None:
            return None
        return likelihood(logits, token, self.request.logprobs)

    def _speak(self) -> list[TextToken]:
        """Draw the next token and let go of the text that is certain."""
        if self.completion_tokens >= self.request.max_tokens or self._before is None:
            return self._end("length")
        allowed = None if self.guide is None else self.guide.allowed()
        token = draw(self._drawn_by(self._before), self.request.sampling, self._chance, allowed)
        self.completion_tokens += 1
        if self._bent is not None:
            self._bent.hear(token)
        if token in self._ends:
            return self._end("stop")
        if self.guide is not None:
            self.guide.hear(token)
        spelt = self._text.push(token, self._likelihood(self._before, token), self._voice)
        certain = self._certain(spelt)
        if self._stops.stopped:
            self._finished("stop")
            return certain
        if self.guide is not None and self.guide.complete:
            return certain + self._end("stop")
        if self.completion_tokens >= self.request.max_tokens:
            return certain + self._end("length")
        self._unread = [token]
        return certain

    def _drawn_by(self, logits: Float[Tensor, " vocabulary"]) -> Float[Tensor, " vocabulary"]:
        """What the next token is drawn by: the model's logits, bent where the request has penalties."""
        penalties = self.request.sampling.penalties
        if not penalties.bend:
            return logits
        if self._bent is None:
            self._bent = Bent(penalties, self.request.prompt, logits)
        return self._bent.of(logits)

    def _certain(self, spelt: list[TextToken]) -> list[TextToken]:
        """The tokens that no stop string can begin in any more, up to where one has begun."""
        certain: list[TextToken] = []
        for token in spelt:
            certain += self._stops.push(token)
            if self._stops.stopped:
                break
        return certain

    def _end(self, finish: Finish) -> list[TextToken]:
        """What was held back: a character that never became whole may be or complete a stop string, too."""
        certain = self._certain(self._text.rest())
        self._finished("stop" if self._stops.stopped else finish)
        return certain if self._stops.stopped else certain + self._stops.rest()

    def _finished(self, finish: Finish) -> None:
        self.finish = finish
        self._keep()
        if self._common is not None:
            self._common.leave()
            self._common = None
        self._memory = Strand()  # whoever still reads what was said must not hold its memory


def end_tokens(model: RoutedModel) -> frozenset[int]:
    """The tokens that end an answer: what the base's generation config and its tokenizer say."""
    named = getattr(model.base.model.generation_config, "eos_token_id", None)
    several = named if isinstance(named, list) else [named]
    return frozenset(token for token in [*several, model.base.tokenizer.eos_token_id] if token is not None)
