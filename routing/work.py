"""Work: one prompt on its way through a base, pass by pass, with its own memory and record of who spoke."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Literal

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
        self.shares = None if route is None else Shares(route.pack)
        self.trace = Trace() if route is not None and trace else None
        self.read_tokens: list[int] = []
        self._uses = uses
        self._most = most
        self._memory = model.new_memory(self.prompt, most=most)
        self._unread = model.base.family.opening(model.base.model, self.prompt)

    @property
    def passed_tokens(self) -> int:
        """How many tokens went through the base for it."""
        return len(self.read_tokens) - self.recalled_tokens

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

    def reading(self, most: int = PREFILL_CHUNK) -> Reading:
        """What is to be read next, at most so many tokens of it."""
        raise NotImplementedError

    def hear(self, reading: Reading, heard: Heard) -> list[TextToken]:
        """Go on from what came of reading it; returns the tokens whose text is certain now."""
        raise NotImplementedError

    def advance(self) -> list[TextToken]:
        """One forward pass of its own. Not to be called once finished."""
        reading = self.reading()
        return self.hear(reading, read_alone(self.model, reading))

    def _listen(self, heard: Heard) -> None:
        """Take note of who spoke."""
        if heard.record is None:
            return
        for listener in (self.shares, self.trace):
            if listener is not None:
                listener.hear(heard.record, heard.tokens)
        if self._uses is not None:
            self._uses.hear(heard.record, heard.tokens)
