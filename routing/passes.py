"""One step of many works: what each reads next, the pass of the base that reads it, and what each hears."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from routing.streaming import TextToken
from routing.together import Heard, Reading, read_alone, read_together
from routing.work import PREFILL_CHUNK, Finish, Work

PREFILL_BESIDE = 128  # tokens of prompts per pass while others wait for their next token


@dataclass(frozen=True)
class Step:
    """What one step made known: tokens, the end of the work, or the error that ended it."""

    tokens: tuple[TextToken, ...] = ()
    finish: Finish | None = None
    error: Exception | None = None


@dataclass(frozen=True)
class Turn:
    """What works did in one step: a step of each, how many of them read something, and how many tokens."""

    steps: tuple[Step, ...]
    readers: int = 0
    tokens: int = 0


def advance(works: Sequence[Work]) -> Turn:
    """One step of each; what has no room in the pass takes an empty one. Whoever fails fails alone."""
    readings = _shared_out(works)
    turn = [(work, one) for work, one in zip(works, readings, strict=True) if isinstance(one, Reading)]
    heard = iter(_heard(turn))
    steps, read = list[Step](), list[int]()
    for work, reading in zip(works, readings, strict=True):
        if not isinstance(reading, Reading):
            steps.append(Step(error=reading))
            continue
        one = next(heard)
        if not isinstance(one, Exception):
            read.append(len(reading.tokens))
        steps.append(_step(work, reading, one))
    return Turn(tuple(steps), len(read), sum(read))


def _heard(turn: Sequence[tuple[Work, Reading]]) -> list[Heard | Exception]:
    """What came of each reading: in one pass, or where that fails in one of its own."""
    if len(turn) > 1:
        try:
            return [*read_together(turn[0][0].model, [reading for _, reading in turn])]
        except Exception:  # noqa: BLE001, S110 - one answer's failure must not end the others
            pass
    return [_alone(work, reading) for work, reading in turn]


def _shared_out(works: Sequence[Work]) -> list[Reading | Exception | None]:
    """What each reads in the next pass: everybody who speaks a token, the others a share of what is left."""
    speaking = sum(work.speaks for work in works)
    left = PREFILL_CHUNK if not speaking else PREFILL_BESIDE
    readings: list[Reading | Exception | None] = []
    for work in works:
        if not work.speaks and not left:
            readings.append(None)
            continue
        reading = _next_of(work, PREFILL_CHUNK if work.speaks else left)
        if isinstance(reading, Reading) and not work.speaks:
            left -= len(reading.tokens)
        readings.append(reading)
    return readings


def _next_of(work: Work, most: int) -> Reading | Exception:
    try:
        return work.reading(most)
    except Exception as error:  # noqa: BLE001 - told to whoever waits for this answer
        return error


def _alone(work: Work, reading: Reading) -> Heard | Exception:
    try:
        return read_alone(work.model, reading)
    except Exception as error:  # noqa: BLE001 - as above
        return error


def _step(work: Work, reading: Reading, heard: Heard | Exception) -> Step:
    if isinstance(heard, Exception):
        return Step(error=heard)
    try:
        tokens = work.hear(reading, heard)
    except Exception as error:  # noqa: BLE001 - as above
        return Step(error=error)
    return Step(tuple(tokens), work.finish)
