"""One step of many works: what each reads next, the pass of the base that reads it, and what each hears."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from routing.pieces import Reader, share_out
from routing.streaming import TextToken
from routing.together import Heard, Reading, read_alone, read_together
from routing.trusted import WITHDRAWN
from routing.work import PREFILL_CHUNK, Finish, Work

PREFILL_BESIDE = 128  # tokens of prompts per pass while others wait for their next token


@dataclass(frozen=True)
class Step:
    """What one step made known: tokens, the end of the work, or the error that ended it."""

    tokens: tuple[TextToken, ...] = ()
    finish: Finish | None = None
    error: Exception | None = None


@dataclass
class Turn:
    """What came of one step, to all for whom anything did; how many works read, and how many tokens."""

    steps: dict[Work, Step] = field(default_factory=dict)
    readers: int = 0
    tokens: int = 0


def advance(works: Sequence[Work], others: Sequence[Work] = (), *, number: int = 1) -> Turn:
    """One step of the works, in the pass of this number: whoever fails fails alone.

    Where some have a prompt in common one of them reads, and all hear it, those of the `others` too.
    """
    turn = Turn()
    asked = _readings(works, number, turn)
    for (work, reading), heard in zip(asked, _heard(asked), strict=True):
        if isinstance(heard, Exception):
            turn.steps[work] = Step(error=heard)
            continue
        turn.readers += 1
        turn.tokens += len(reading.tokens)
        beside = _beside(work, (*works, *others))
        turn.steps[work] = _step(work, work.hear, reading, heard)
        for other in beside:
            turn.steps[other] = _step(other, other.overhear, reading, heard)
    return turn


def _readings(works: Sequence[Work], number: int, turn: Turn) -> list[tuple[Work, Reading]]:
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
    shares = share_out([Reader(work.caller, work.unread, work.read_in) for work in readers], room)
    readings = []
    for work, most in [*((one, 1) for one in speakers), *zip(readers, shares, strict=True)]:
        try:
            if most:
                readings.append((work, work.reading(most)))
        except Exception as error:  # noqa: BLE001 - as above
            turn.steps[work] = Step(error=error)
    for work, most in zip(readers, shares, strict=True):
        work.read_in = number if most else work.read_in
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


def _heard(turn: Sequence[tuple[Work, Reading]]) -> list[Heard | Exception]:
    """What came of each reading: in one pass, or where that fails in one of its own."""
    if len(turn) > 1:
        try:
            return [*read_together(turn[0][0].model, [reading for _, reading in turn])]
        except Exception:  # noqa: BLE001, S110 - one answer's failure must not end the others
            pass
    return [_alone(work, reading) for work, reading in turn]


def _alone(work: Work, reading: Reading) -> Heard | Exception:
    """A second time too, where a fast way has failed that is not taken any more."""
    ways = len(WITHDRAWN)
    try:
        return read_alone(work.model, reading)
    except Exception as error:  # noqa: BLE001 - told to whoever waits for this answer
        return error if len(WITHDRAWN) == ways else _alone(work, reading)


def _step(
    work: Work, hear: Callable[[Reading, Heard], list[TextToken]], reading: Reading, heard: Heard
) -> Step:
    try:
        tokens = hear(reading, heard)
    except Exception as error:  # noqa: BLE001 - as above
        return Step(error=error)
    return Step(tuple(tokens), work.finish)
