"""Following a process: its memory, files, threads and processor time from /proc, and its own gauges."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx

from bench.soak.clients import World
from bench.soak.versions import gauges

EVERY = 2.0
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Sample:
    """One look, all as numbers that can be averaged; memory in MB (10^6 bytes), times in seconds."""

    at: float
    rss: float
    files: float
    threads: float
    processor: float
    running: float
    waiting: float
    private_versions: float

    def to_json(self) -> dict[str, float]:
        """For a file."""
        return {name: round(value, 3) for name, value in asdict(self).items()}


async def look(http: httpx.AsyncClient, pid: int, began: float) -> Sample:
    """The process as it is now."""
    said = gauges((await http.get("/metrics")).text)
    status = _status(pid)
    return Sample(
        at=time.monotonic() - began,
        rss=int(status["VmRSS"].split()[0]) * 1024 / 1e6,
        files=len(os.listdir(f"/proc/{pid}/fd")),  # noqa: PTH208 - names alone, some close meanwhile
        threads=int(status["Threads"]),
        processor=_processor(pid),
        running=said["fletch_running"],
        waiting=said["fletch_waiting"],
        private_versions=said["fletch_private_versions"],
    )


async def keep_looking(
    world: World, pid: int, began: float, samples: list[Sample], stop: asyncio.Event
) -> None:
    """Look every two seconds until told to stop; a process that is not there is a fault."""
    while not stop.is_set():
        try:
            samples.append(await look(world.http, pid, began))
        except (httpx.HTTPError, OSError, KeyError) as error:
            world.tally.fault("following", f"{type(error).__name__}: {error}")
        try:
            async with asyncio.timeout(EVERY):
                await stop.wait()
        except TimeoutError:
            continue


def _status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _processor(pid: int) -> float:
    """Seconds of processor time, the system's own included (proc(5), fields 14 and 15 of stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS
