"""What a request's works took, in the metrics, in its entry and from its caller's budget."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field

from routing.engine import Step
from routing.work import Work
from workers.serving.journal import Ended, Entry
from workers.serving.metrics import Metrics
from workers.serving.runner import Steps
from workers.serving.shapes import usage
from workers.serving.targets import Target


@dataclass(frozen=True)
class Counting:
    """Works that were given to the engine together; a request that has more of them counts each lot."""

    target: Target
    works: Sequence[Work]
    choices: int  # of each prompt
    metrics: Metrics
    entry: Entry
    charge: Callable[[int], None]  # tokens to whoever asks
    started: float = field(default_factory=time.monotonic)
    _read: dict[int, int] = field(default_factory=dict, init=False)  # that was charged: of each prompt
    _written: dict[int, int] = field(default_factory=dict, init=False)  # and by each work

    def charge_new(self, place: int) -> None:
        """Charge what the work at this place has taken since the last time, whoever reads its answer."""
        work, prompt = self.works[place], place // self.choices
        before = self._read.get(prompt, 0), self._written.get(place, 0)
        read, written = max(before[0], work.prompt_behind - work.recalled_tokens), work.completion_tokens
        self._read[prompt], self._written[place] = read, written
        self.charge(read - before[0] + written - before[1])

    async def counted(self, steps: Steps) -> AsyncGenerator[tuple[int, Step], None]:
        """The works' steps; leaving early cancels what is left."""
        entry, library = self.entry, self.target.library
        latest: dict[int, float] = {}
        try:
            with closing(steps):
                async for place, step in steps:
                    if step.tokens:
                        now = time.monotonic()
                        if entry.first_token is None:
                            entry.first_token = now
                            self.metrics.first_token.labels(library).observe(now - entry.began)
                        if place in latest:
                            self.metrics.between_tokens.labels(library).observe(now - latest[place])
                        latest[place] = now
                    if step.finish is not None:
                        entry.ends.append(Ended(place, step.finish, time.monotonic()))
                    yield place, step
        finally:
            entry.answered = time.monotonic()
            entry.admitted = entry.admitted or steps.admitted
            self.metrics.queue_seconds.observe((steps.admitted or entry.answered) - self.started)
            self._count()

    def _count(self) -> None:
        """What was read and written and who spoke, also where the client went before the end."""
        metrics, library, entry = self.metrics, self.target.library, self.entry
        counts = usage(self.works, self.choices)
        read, written = counts["prompt_tokens"], counts["completion_tokens"]
        recalled = counts["prompt_tokens_details"]["cached_tokens"]
        entry.prompt_tokens += read
        entry.completion_tokens += written
        entry.recalled_tokens += recalled
        for place in range(len(self.works)):
            self.charge_new(place)
        metrics.prompt_tokens.labels(library).inc(read)
        metrics.completion_tokens.labels(library).inc(written)
        metrics.recalled_tokens.labels(library).inc(recalled)
        for work in self.works:
            if work.looks_back:
                metrics.recalls.labels(library, "hit" if work.recalled_tokens else "miss").inc()
        version = self.target.version
        if version is not None:
            private = () if version.guests is None else version.guests.names
            shares = [work.shares for work in self.works if work.shares is not None]
            metrics.speakers.heard(library, shares, private, len(version.pack.experts))
