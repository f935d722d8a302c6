"""Many answers and embeddings at once: their tokens go through the base together, none waits for another."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass

from routing.common import read_in_common
from routing.parting import Parted, Partings
from routing.passes import PREFILL_BESIDE as PREFILL_BESIDE
from routing.passes import Rota, Turn, advance
from routing.passes import Step as Step
from routing.work import Work

log = logging.getLogger(__name__)
RUNNING = 16
WAITING = 64
SHARE = 3  # a caller may wait with so many times as many answers as there are places left for others

Held = Mapping[Hashable, int]  # answers, by caller
Listener = Callable[[Step], None]
Told = Callable[[int, int], None]


class EngineFull(Exception):
    """As many requests wait as may wait; come back later."""


class EngineEnded(Exception):
    """Nobody is answered by this engine any more."""


@dataclass(eq=False)
class Ticket:
    """An answer or embedding in the engine's care, who is told of its steps (on its thread), and who asked.

    `most_bytes` is what it may come to take, where that is counted. `admitted` says since when it takes turns
    (`time.monotonic`); None while it waits for a place. `kept`: it has its place, ended or not, until it is
    cancelled. `paused`: it takes no turns for now.
    """

    work: Work
    listener: Listener
    caller: Hashable = ""
    most_bytes: int = 0
    admitted: float | None = None
    kept: bool = False
    paused: bool = False


class Engine:
    """Works of any models and versions, run together. Submitting and cancelling are thread-safe.

    A step is one forward pass: a token of each answer that is being written, and a piece of the prompts that
    are being read, by turns among their callers. Answers of another model take the next step; a base that
    cannot read together (see `routing.ragged_trial`) takes a step for each of its answers in turn.

    A pass is for at most `running` answers. Where one caller has them all and another comes, theirs begins at
    once and the passes are shared equally (max-min) between callers: the first one's answers take turns.
    """

    def __init__(
        self,
        *,
        running: int = RUNNING,
        waiting: int = WAITING,
        memory: int | None = None,
        told: Told = lambda _answers, _tokens: None,
        parted: Parted = lambda _base, _kind: None,
    ) -> None:
        """`told` hears of every pass how many answers it was for, and how many tokens it read; `parted` of
        those that failed for several answers together: the base's name, and the kind of error.

        `running` is how many answers a pass is for, `waiting` how many beside these are taken.
        With `memory`, in bytes, answers begin only while all that are under way would fit into it at their
        longest. Who does not fit yet waits, and whoever would come after waits too, so that nobody starves.
        One that could never fit is for the caller to refuse; here it takes its turn alone.
        """
        self._told = told
        self._may_take = memory
        self._may_run = running
        self._may_wait = waiting
        self._running: deque[Ticket] = deque()
        self._waiting: deque[Ticket] = deque()
        self._unread: list[Ticket] = []
        self._rota = Rota()
        self._parted = Partings(parted)
        self._ended: EngineEnded | None = None
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)

    def submit(self, works: Sequence[tuple[Work, Listener]], *, caller: Hashable = "") -> list[Ticket]:
        """Take the works of one request into care, all or none; EngineFull if too many wait already.

        A prompt that several of them have is read once; those who wait for a place hear of it too.

        Who waits longest comes next, but a `caller` with fewer answers under way comes before one with more.
        Nobody may wait with more than `SHARE` times as many as there are places left, so that some are left
        for others; who has nothing here is taken while there is any. What is remembered of a conversation is
        for its caller alone. EngineEnded after `end`.
        """
        tickets = self._tickets(works, caller)
        with self._work:
            self._require_places(len(tickets))
            self._require_share(caller, len(tickets), {})
            return self._taken(tickets)

    def take(self, works: Sequence[tuple[Work, Listener]], *, caller: Hashable = "") -> list[Ticket]:
        """As `submit`, for whom `require_room` was asked before anything was worked out for them.

        Whoever asked has these places until each is cancelled: also behind its end, while what was written is
        not read. So nobody piles up answers that they do not read.
        """
        tickets = self._tickets(works, caller)
        for ticket in tickets:
            ticket.kept = True
        with self._work:
            return self._taken(tickets)

    def require_room(self, caller: Hashable = "", wanted: int = 1, prepared: Held | None = None) -> None:
        """EngineFull if not even so many more of this caller would be taken: ask before preparing any.

        `prepared` says by caller how many are being prepared already: as if they waited.
        """
        with self._lock:
            self._require_places(wanted, sum((prepared or {}).values()))
            self._require_share(caller, wanted, prepared or {})

    def allow(self, memory: int | None) -> None:
        """From now on answers under way may take so many bytes (see `__init__`); who began goes on."""
        with self._work:
            self._may_take = memory
            self._admit()
            self._work.notify()

    def cancel(self, ticket: Ticket) -> None:
        """Forget one, wherever it is; its listener hears no more than a step that is under way."""
        with self._lock:
            for queue in (self._running, self._waiting, self._unread):
                if ticket in queue:
                    queue.remove(ticket)
            self._admit()

    def pause(self, ticket: Ticket) -> None:
        """Let this one take no turns until `go_on`, others in its place: too much of it is not read yet."""
        with self._work:
            ticket.paused = True
            self._admit()
            self._work.notify()

    def go_on(self, ticket: Ticket) -> None:
        """Let it take turns again."""
        with self._work:
            ticket.paused = False
            self._work.notify()

    def end(self, error: EngineEnded) -> None:
        """Take nothing any more, and tell this to all whose answers have not ended."""
        with self._work:
            self._ended = error
            left = [*self._running, *self._waiting]
            self._running.clear()
            self._waiting.clear()
        for ticket in left:
            _tell(ticket, Step(error=error))

    @property
    def running(self) -> int:
        """How many take turns."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """How many wait for a place."""
        return len(self._waiting)

    @property
    def unread(self) -> int:
        """How many have ended and are kept (see `take`)."""
        return len(self._unread)

    def held(self, caller: Hashable) -> int:
        """How many answers of this caller are under way, wait, or are not read."""
        with self._lock:
            return self._held(caller)

    def memory_bytes(self) -> dict[str, int]:
        """By base: how much memory the keys and values of the answers under way take."""
        with self._lock:
            works = [ticket.work for ticket in (*self._running, *self._waiting)]
        taken: Counter[str] = Counter()
        for work in {id(one.memory): one for one in works}.values():  # some have theirs in common
            taken[work.model.base.spec.name] += work.memory_bytes
        return taken

    def wait(self, seconds: float) -> bool:
        """Sleep until there is work, at most so long; whether there is any."""
        with self._work:
            return self._work.wait_for(lambda: bool(self._turning()), timeout=seconds)

    def step(self) -> bool:
        """Let those whose turn it is take one step; False if there is nobody. It raises nothing.

        What fails for one answer ends that answer alone; what fails beside that, all that take turns.
        """
        try:
            return self._step()
        except Exception as error:
            log.exception("a step of the engine failed; all answers under way end")
            with self._lock:
                failed = list(self._running)
                self._running.clear()
                self._keep(failed)
                self._admit()
            for ticket in failed:
                _tell(ticket, Step(error=error))
            return True

    def _step(self) -> bool:
        with self._lock:
            tickets = self._in_turn()
            others = [ticket.work for ticket in (*self._running, *self._waiting)]
        if not tickets:
            return False
        turn = advance([ticket.work for ticket in tickets], others, self._rota, self._parted)
        self._count(turn)
        with self._lock:
            for ticket in tickets:
                if ticket in self._running:  # or cancelled meanwhile
                    self._running.remove(ticket)
                    self._running.append(ticket)
            told = self._heard(turn)
            self._admit()
        for ticket, step in told:
            _tell(ticket, step)
        return True

    def _heard(self, turn: Turn) -> list[tuple[Ticket, Step]]:
        """Whom to tell what of a step; those who have ended go."""
        told = []
        for queue in (self._running, self._waiting):
            for ticket in tuple(queue):
                step = turn.steps.get(ticket.work)
                if step is None:
                    continue
                told.append((ticket, step))
                if step.finish is not None or step.error is not None:
                    queue.remove(ticket)
                    self._keep([ticket])
        return told

    def _keep(self, ended: Sequence[Ticket]) -> None:
        self._unread += [ticket for ticket in ended if ticket.kept]

    def _turning(self) -> list[Ticket]:
        return [ticket for ticket in self._running if not ticket.paused]

    def _count(self, turn: Turn) -> None:
        try:
            self._told(turn.readers, turn.tokens)
        except Exception:
            log.exception("a pass could not be counted")

    def _in_turn(self) -> list[Ticket]:
        """The first in the queue, and whoever can read together with it."""
        turning = self._turning()
        if not turning:
            return []
        first = turning[0]
        model = first.work.model
        if not model.reads_together:
            return [first]
        return self._seated([ticket for ticket in turning if ticket.work.model is model])

    def _seated(self, tickets: Sequence[Ticket]) -> list[Ticket]:
        """Those whom one pass is for: of each caller as many, as far as can be, and who waited longest."""
        if len(tickets) <= self._may_run:
            return [*tickets]
        before = Counter[Hashable]()
        ranked = list[tuple[int, int]]()  # how many of its caller's come before each; where it stands
        for place, ticket in enumerate(tickets):
            ranked.append((before[ticket.caller], place))
            before[ticket.caller] += 1
        return [tickets[place] for place in sorted(place for _, place in sorted(ranked)[: self._may_run])]

    def _tickets(self, works: Sequence[tuple[Work, Listener]], caller: Hashable) -> list[Ticket]:
        counted = self._may_take is not None
        for work, _ in works:
            work.caller = caller
        read_in_common([work for work, _ in works])
        return [Ticket(work, listener, caller, work.most_bytes if counted else 0) for work, listener in works]

    def _taken(self, tickets: list[Ticket]) -> list[Ticket]:
        self._require_places(len(tickets))
        self._waiting += tickets
        self._admit()
        self._work.notify()
        return tickets

    def _require_places(self, wanted: int, prepared: int = 0) -> None:
        if self._ended is not None:
            raise self._ended
        running, waiting, unread = len(self._running), len(self._waiting), len(self._unread)
        if wanted > self._may_run + self._may_wait - running - waiting - prepared - unread:
            more = f"; {unread} are written, but not read" if unread else ""
            raise EngineFull(
                f"{running} answers are under way, {waiting} wait and {prepared} are prepared{more}"
            )

    def _require_share(self, caller: Hashable, wanted: int, prepared: Held) -> None:
        """Whoever has something here leaves places in the queue for others."""
        beside = Counter(prepared)
        beside.update(ticket.caller for ticket in self._unread)
        if not beside[caller] + self._held(caller):
            return
        free = self._may_run - len(self._running)
        waiting = len(self._waiting) + max(0, beside.total() - free)
        new = wanted if waiting else max(0, beside.total() + wanted - free)
        left = self._may_wait - waiting
        mine = min(waiting, beside[caller] + sum(ticket.caller == caller for ticket in self._waiting))
        if new and mine + new > SHARE * (left - new):
            raise EngineFull(
                f"{mine} of your answers wait already, and {left} places are left, which others may come for"
            )

    def _held(self, caller: Hashable) -> int:
        queues = (self._running, self._waiting, self._unread)
        return sum(ticket.caller == caller for queue in queues for ticket in queue)

    def _has_place(self, caller: Hashable) -> bool:
        """Whether one more of theirs takes turns: where a pass has room, or less for them than for others."""
        turning = self._turning()
        if len(turning) < self._may_run:
            return True
        seats = Counter(ticket.caller for ticket in self._seated(turning))
        return max(seats.values(), default=0) > seats[caller] + 1

    def _fits(self, ticket: Ticket) -> bool:
        if self._may_take is None or not self._running:
            return True
        promised = sum(one.most_bytes for one in self._running)
        running = {id(one.work.memory) for one in self._running}
        read = {id(one.work.memory): one.work.memory_bytes for one in self._waiting if one is not ticket}
        promised += sum(size for memory, size in read.items() if memory not in running)
        return promised + ticket.most_bytes <= self._may_take

    def _admit(self) -> None:
        while self._waiting:
            busy = Counter(ticket.caller for ticket in self._running)
            ticket = min(self._waiting, key=lambda one: busy[one.caller])  # of equals the first
            if not self._has_place(ticket.caller) or not self._fits(ticket):
                break
            self._waiting.remove(ticket)
            ticket.admitted = time.monotonic()
            self._running.append(ticket)


def _tell(ticket: Ticket, step: Step) -> None:
    """A listener that fails is nobody else's trouble."""
    try:
        ticket.listener(step)
    except Exception:
        log.exception("whoever waits for an answer could not be told of it")
