"""One step of many works: what each reads next, the pass of the base that reads it, and what each hears."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field

from routing.parting import Partings
from routing.pieces import Reader, share_out
from routing.ragged import Strand
from routing.streaming import TextToken
from routing.together import Heard, Reading, read_alone, read_together
from routing.trusted import WITHDRAWN
from routing.work import PREFILL_CHUNK, Finish, Work

PREFILL_BESIDE = 128  # tokens of prompts per pass while others wait for their next token
LATELY = 1024  # passes; whose prompts were not read since then comes as if never


@dataclass(frozen=True)
class Step:
    """What one step made known: tokens, the end of the work, or the error that ended it."""

    tokens: tuple[TextToken, ...] = ()
    finish: Finish | None = None
    error: Exception | None = None


@dataclass
class Rota:
    """Who had pieces of prompts read in which pass, by caller: who had none for longest comes next."""

    number: int = 0
    read_in: dict[Hashable, int] = field(default_factory=dict)

    def next(self) -> None:
        """Another pass."""
        self.number += 1
        if not self.number % LATELY:
            self.read_in = {who: last for who, last in self.read_in.items() if last > self.number - LATELY}

    def read(self, caller: Hashable) -> None:
        """This caller had a piece read in this pass."""
        self.read_in[caller] = self.number


@dataclass
class Turn:
    """What came of one step, to all for whom anything did; how many works read, and how many tokens."""

    steps: dict[Work, Step] = field(default_factory=dict)
    readers: int = 0
    tokens: int = 0


def advance(works: Sequence[Work], others: Sequence[Work], rota: Rota, parted: Partings) -> Turn:
    """One step of the works: whoever fails fails alone.

    Where some have a prompt in common one of them reads, and all hear it, those of the `others` too; and fail
    with it where their memory is no strand, which a pass that fails leaves as it was. `parted` hears of
    one that failed for several together.
    """
    turn = Turn()
    rota.next()
    asked = _readings(works, rota, turn)
    for (work, reading), heard in zip(asked, _heard(asked, parted), strict=True):
        if isinstance(heard, Exception):
            lost = () if isinstance(reading.memory, Strand) else _beside(work, (*works, *others))
            turn.steps |= dict.fromkeys([work, *lost], Step(error=heard))
            continue
        turn.readers += 1
        turn.tokens += len(reading.tokens)
        beside = _beside(work, (*works, *others))
        turn.steps[work] = _step(work, work.hear, reading, heard)
        for other in beside:
            turn.steps[other] = _step(other, other.overhear, reading, heard)
    return turn


def _readings(works: Sequence[Work], rota: Rota, turn: Turn) -> list[tuple[Work, Reading]]:
    """What is read in this pass: a token by everybody who speaks, and pieces of prompts in what is left."""
    speakers, readers = list[Work](), list[Work]()
    for work in _one_of_each_common(works):
        try:
            work.begin()
        except Exception as error:  # noqa: BLE001 - told to whoever waits for this answer
            turn.steps[work] = Step(error=error)
            continue
        (speakers if work.speaks else readers).append(work)
    room = PREFILL_BESIDE if speakers else PREFILL_CHUNK
    asked = [Reader(work.caller, work.unread, rota.read_in.get(work.caller, 0)) for work in readers]
    shares = share_out(asked, room)
    readings = []
    for work, most in [*((one, 1) for one in speakers), *zip(readers, shares, strict=True)]:
        try:
            if most:
                readings.append((work, work.reading(most)))
        except Exception as error:  # noqa: BLE001 - as above
            turn.steps[work] = Step(error=error)
    for work, most in zip(readers, shares, strict=True):
        if most:
            rota.read(work.caller)
    return readings


def _one_of_each_common(works: Sequence[Work]) -> list[Work]:
    """All but those whose prompt another of them reads."""
    read, found = set[int](), list[Work]()
    for work in works:
        if work.common is None or id(work.common) not in read:
            found.append(work)
            read.add(id(work.common))
    return found


def _beside(work: Work, everybody: Sequence[Work]) -> list[Work]:
    """Who has in common with it what it reads."""
    common = work.common
    if common is None:
        return []
    return list({other: None for other in everybody if other.common is common and other is not work})


def _heard(turn: Sequence[tuple[Work, Reading]], parted: Partings) -> list[Heard | Exception]:
    """What came of each reading: in one pass, or where that fails in one of its own."""
    if len(turn) > 1:
        model = turn[0][0].model
        try:
            return [*read_together(model, [reading for _, reading in turn])]
        except Exception as error:  # noqa: BLE001 - one answer's failure must not end the others
            parted(model, len(turn), error)
    return [_alone(work, reading) for work, reading in turn]


def _alone(work: Work, reading: Reading) -> Heard | Exception:
    """A second time too, where a fast way has failed that is not taken any more, and left nothing behind."""
    ways = len(WITHDRAWN)
    try:
        return read_alone(work.model, reading)
    except Exception as error:  # noqa: BLE001 - told to whoever waits for this answer
        again = len(WITHDRAWN) > ways and isinstance(reading.memory, Strand)
        return _alone(work, reading) if again else error


def _step(
    work: Work, hear: Callable[[Reading, Heard], list[TextToken]], reading: Reading, heard: Heard
) -> Step:
    try:
        tokens = hear(reading, heard)
    except Exception as error:  # noqa: BLE001 - as above
        return Step(error=error)
    return Step(tuple(tokens), work.finish)
