"""Work: one prompt on its way through a base, pass by pass, with its own memory and record of who spoke."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Literal

from routing.common import Common
from routing.family import Memory
from routing.ragged import Strand
from routing.routed import RoutedModel
from routing.routes import Route
from routing.streaming import TextToken
from routing.together import Heard, Reading, read_alone
from routing.traces import Shares, Trace
from routing.uses import Uses

PREFILL_CHUNK = 256  # tokens of a prompt per pass: long prompts must not silence the others for long

Finish = Literal["stop", "length"]


class Work:
    """What an engine lets take turns. It keeps the index version that it began with while it lives."""

    def __init__(
        self,
        model: RoutedModel,
        prompt: Sequence[int],
        route: Route | None,
        *,
        most: int,
        trace: bool = False,
        uses: Uses | None = None,
    ) -> None:
        """`route` None is the plain base, `most` how many tokens its memory may have to hold.

        With `trace` every selection is kept. `uses` count whom its tokens choose, together with others'.
        """
        if route is not None and not route.can_run:
            raise ValueError("the factors of this route's experts are not in memory; see routing.resident")
        self.model = model
        self.caller: Hashable = ""  # who asks, for whom alone what it leaves behind is remembered
        self.prompt = tuple(prompt)
        self.route = route
        self.narrowed = None if route is None else route.narrowed
        self.finish: Finish | None = None
        self.completion_tokens = 0
        self.recalled_tokens = 0
        self.overheard_tokens = 0
        self.shares = None if route is None else Shares(route.pack)
        self.trace = Trace() if route is not None and trace else None
        self.read_tokens: list[int] = []
        self._uses = uses
        self._most = most
        self._memory = model.new_memory(self.prompt, most=most)
        self._unread = model.base.family.opening(model.base.model, self.prompt)
        self._opening = len(self._unread)
        self._common: Common | None = None

    @property
    def passed_tokens(self) -> int:
        """How many tokens went through the base for it, and not for another answer to the same prompt."""
        return len(self.read_tokens) - self.recalled_tokens - self.overheard_tokens

    @property
    def prompt_behind(self) -> int:
        """How many tokens of its prompt are behind it: read, overheard or recalled."""
        read = len(self.read_tokens)  # an encoder has read all of it before the first that is read here
        return len(self.prompt) if read >= self._opening else read

    @property
    def unread(self) -> int:
        """How many tokens are to be read before the next is drawn."""
        return len(self._unread)

    @property
    def memory(self) -> Memory | Strand:
        """What it remembers, which it may have in common with others while the prompt is read."""
        return self._memory

    @property
    def common(self) -> Common | None:
        """The prompt that others read with it, while that is not read to its end."""
        return self._common if len(self.read_tokens) < self._opening else None

    @property
    def read_like(self) -> Hashable | None:
        """Equal to that of others whose prompts are read in the same way; None: read by itself alone."""
        return None

    @property
    def memory_bytes(self) -> int:
        """What its keys and values take. May be asked while another thread lets it advance."""
        return self._memory.size

    @property
    def most_bytes(self) -> int:
        """What its keys and values will take if it becomes as long as it may."""
        return self._most * self.model.token_bytes

    @property
    def speaks(self) -> bool:
        """Whether the next pass draws a token, with no more than one to read before."""
        return False

    @property
    def looks_back(self) -> bool:
        """Whether it looks for what an earlier one of its conversation has read."""
        return False

    def join(self, common: Common) -> None:
        """Read the prompt together with others; before anything is read."""
        self._common, self._memory = common, common.memory

    def begin(self) -> None:
        """Look for what need not be read, before the first reading and before anything is overheard."""

    def reading(self, most: int = PREFILL_CHUNK) -> Reading:
        """What is to be read next, at most so many tokens of it."""
        raise NotImplementedError

    def overhear(self, reading: Reading, heard: Heard) -> list[TextToken]:
        """As `hear`, where another work has read what this one has in common with it."""
        raise NotImplementedError

    def hear(self, reading: Reading, heard: Heard) -> list[TextToken]:
        """Go on from what came of reading it; returns the tokens whose text is certain now."""
        raise NotImplementedError

    def advance(self) -> list[TextToken]:
        """One forward pass of its own. Not to be called once finished."""
        self.begin()
        reading = self.reading()
        return self.hear(reading, read_alone(self.model, reading))

    def _listen(self, heard: Heard) -> None:
        """Take note of who spoke."""
        if heard.record is None:
            return
        for listener in (self.shares, self.trace):
            if listener is not None:
                listener.hear(heard.record, heard.tokens)

    def _count_uses(self, heard: Heard) -> None:
        """Tell who was chosen by tokens that went through the base: once, whoever overhears it."""
        if self._uses is not None and heard.record is not None:
            self._uses.hear(heard.record, heard.tokens)
