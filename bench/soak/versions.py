"""A new version every few seconds, now and then an older one again, and now and then one that must be refused."""

from __future__ import annotations

import asyncio
import time
from itertools import cycle
from random import Random
from typing import Any

import httpx

from bench.soak.clients import World
from bench.soak.shelf import DAMAGES, LIBRARY
from bench.soak.tally import Fault

WITHIN = 180.0  # seconds: what takes longer is stuck
LOOK_AGAIN = 0.2


async def keep_changing(world: World, every: float, stop: asyncio.Event) -> None:
    """Change what is served until told to stop, and see that it is what was meant."""
    draw, damages, turn = Random(17), cycle(DAMAGES), 0
    while not stop.is_set():
        turn += 1
        kind = "damaged version" if turn % 6 == 0 else "roll back" if turn % 6 == 3 else "new version"
        try:
            if kind == "damaged version":
                await _damaged(world, next(damages), draw)
            else:
                await _sound(world, kind, draw)
            world.tally.count(kind, "as promised")
        except (Fault, httpx.HTTPError, OSError) as error:
            world.tally.fault(kind, f"{type(error).__name__}: {error}")
        try:
            async with asyncio.timeout(every):
                await stop.wait()
        except TimeoutError:
            continue


async def serve(world: World, cast: int) -> None:
    """Publish a version with this cast and return when it is served."""
    number = await asyncio.to_thread(world.shelf.publish, cast)
    await _until(world, lambda report: report["version"] == number and report["problem"] is None)


async def _sound(world: World, kind: str, draw: Random) -> None:
    shelf = world.shelf
    if kind == "new version":
        await serve(world, draw.randrange(len(shelf.casts)))
        return
    number = draw.choice(shelf.lately())
    await asyncio.to_thread(shelf.promote, number)
    await _until(world, lambda report: report["version"] == number and report["problem"] is None)


async def _damaged(world: World, damage: str, draw: Random) -> None:
    """It is refused for the right reason, what was served stays, and with a sound version all is well again."""
    shelf = world.shelf
    served, refused = shelf.current, await _refusals(world)
    number, entry = await asyncio.to_thread(shelf.publish_damaged, damage, draw)
    report = await _until(world, lambda report: report["problem"] is not None)
    await asyncio.to_thread(shelf.promote, served)
    await _until(world, lambda report: report["problem"] is None)
    shelf.forget(entry)
    if report["version"] != served or DAMAGES[damage] not in report["problem"]:
        raise Fault(
            f"version {number} is {damage}: found {report}, expected {DAMAGES[damage]} and version {served}"
        )
    if await _refusals(world) <= refused:
        raise Fault(f"version {number} is {damage}, and /metrics counts no refusal")


async def _refusals(world: World) -> float:
    name = f'fletch_refused_versions_total{{library="{LIBRARY}"}}'
    return gauges((await world.http.get("/metrics")).text).get(name, 0.0)


async def _until(world: World, holds: Any) -> dict[str, Any]:
    """What /readyz says of the library once this holds; Fault if it takes too long."""
    deadline = time.monotonic() + WITHIN
    while True:
        answer = (await world.http.get("/readyz")).json()
        report: dict[str, Any] = answer["libraries"][0]
        if holds(report):
            return report
        if time.monotonic() > deadline:
            raise Fault(f"after {WITHIN:.0f} s the library is still {report}")
        await asyncio.sleep(LOOK_AGAIN)


def gauges(page: str) -> dict[str, float]:
    """The numbers of a page of /metrics by name and labels."""
    lines = (line.rpartition(" ") for line in page.splitlines() if line and not line.startswith("#"))
    return {name: float(value) for name, _, value in lines}
