"""A new version beside answers that are under way: the longest pause between tokens, against what is usual.

python -m bench.swap [--size small] [--experts 1000] [--streams 8] [--swaps 5] [--rounds one | add leave]

A real serving process, its streams read over loopback. Another version, written before, is promoted while all streams
are being written; from then until the switch every gap between two tokens of a stream counts, and no stream may fail or
end. (Were it written then, by the process that reads the streams, tokens would wait for their reader.) Before each swap the
same streams are followed for a while with nothing published: what a machine and its other work do by themselves.

Versions share what they have in common, so `one` expert more is the cheapest swap. With `add` more experts come than there
is spare room for, with `leave` more leave than may lie there for nobody: all that stays is laid out anew, beside the old
version that still answers. `--rounds add leave` takes turns.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice, pairwise
from pathlib import Path
from random import Random
from typing import Any

import httpx
import torch

from bench.models import SHAPES
from bench.report import named, save, show
from bench.served import Process, await_version, found_library, put_expert, serving_process
from routing.growing import OWNED, SPARE
from routing.index import ExpertEntry, RoutingPolicy, manifest_of
from routing.store import IndexStore, open_store

LIBRARY = "swap"
PROMPT = 8
ANSWER = 1_900  # tokens: longer than a round
LEAD = 2.0  # seconds that the streams have been written for, before anything counts
BEHIND = (
    1.0  # seconds after the switch that count too: the first steps on the new version, the old one let go
)
SWITCHED_WITHIN = 300.0
NEUTRAL = (8, 32)
ONE, ADD, LEAVE = "one", "add", "leave"
COMING = 5 / 4 * SPARE  # of the experts there are: more than there is room for
LEAVING = 6 / 5 * (1 - OWNED)  # more than may lie there for nobody
ENDED = "it ended before the round did, so what came then was not measured"


@dataclass
class Stream:
    """One answer as it comes: when each token was there, and why it failed if it did."""

    times: list[float] = field(default_factory=list)
    failure: str = ""

    def gaps(self, begin: float, end: float) -> list[float]:
        """Seconds between its tokens from one moment to another."""
        return [later - sooner for sooner, later in pairwise(self.times) if sooner < end and later > begin]


@dataclass(frozen=True)
class Round:
    """One swap: to what, gaps before it and during it, how long it took, the server's peak, and which streams failed."""

    kind: str
    experts: int
    quiet: list[float]
    swapping: list[float]
    seconds: float
    peak: float
    failures: list[str]

    def to_json(self) -> dict[str, Any]:
        """Times in milliseconds."""
        usual = statistics.median(self.quiet)
        return {
            "round": self.kind,
            "experts": self.experts,
            "peak_mb": round(self.peak),
            "median_ms": round(1000 * usual, 2),
            "quiet_longest_ms": round(1000 * max(self.quiet), 2),
            "swap_median_ms": round(1000 * statistics.median(self.swapping), 2),
            "swap_longest_ms": round(1000 * max(self.swapping), 2),
            "longest_over_median": round(max(self.swapping) / usual, 2),
            "quiet_over_median": round(max(self.quiet) / usual, 2),
            "swap_seconds": round(self.seconds, 2),
            "failures": self.failures,
        }


def main() -> None:
    """Swap as often as is wanted, print each and the middle one, write the figures."""
    given = _arguments().parse_args()
    with tempfile.TemporaryDirectory() as folder:
        library = _Growing(open_store(str(Path(folder) / "store")), Path(folder), given)
        library.write()
        library.promote()
        log = Path(folder) / "serving.log"
        began = time.monotonic()
        store, options = str(Path(folder) / "store"), ["--threads", str(given.threads)]
        with serving_process(store, log, options=options) as process:
            await_version(process.url, LIBRARY, 1, within=600)
            first, peak = time.monotonic() - began, _peak_mb(process.pid)
            kinds = islice(cycle(given.rounds), given.swaps)
            rounds = [_undisturbed(process, library, kind, given) for kind in kinds]
    peak = max([peak, *(one.peak for one in rounds)])
    rows = [one.to_json() for one in rounds]
    show(
        f"{given.size}, {given.experts} experts of rank {given.rank}, {given.streams} streams; first version after "
        f"{first:.0f} s, peak {peak:.0f} MB",
        [
            "swap",
            "experts",
            "peak, MB",
            "took, s",
            "median gap, ms",
            "longest, nothing published",
            "longest, swapping",
            "/ median",
            "failed",
        ],
        [_line(place, row) for place, row in enumerate(rows, start=1)],
    )
    middle = statistics.median(row["longest_over_median"] for row in rows)
    print(f"longest pause over the median gap: {middle:.1f} in the middle swap")
    figures = {**vars(given), "first_version_s": round(first, 1), "peak_mb": round(peak), "swaps": rows}
    save(named("swap", given, "size", "rank", "experts", "rounds"), figures)
    if any(row["failures"] for row in rows):
        raise SystemExit(f"streams failed: {[row['failures'] for row in rows]}")


class _Growing:
    """A library of which some experts come or leave with each version."""

    def __init__(self, store: IndexStore, folder: Path, given: argparse.Namespace) -> None:
        self._store, self._rank = store, given.rank
        self.spec = found_library(store, LIBRARY, SHAPES[given.size], folder / "base")
        tokens = torch.randint(self.spec.vocabulary, NEUTRAL, generator=torch.Generator().manual_seed(5))
        self._neutral = store.put_neutral(tokens)
        self._entries: list[ExpertEntry] = []
        self._made = self.number = 0
        self._come(given.experts)

    def __len__(self) -> int:
        """How many experts the next version has."""
        return len(self._entries)

    def change(self, kind: str) -> None:
        """Who comes or leaves before the next version."""
        if kind == LEAVE:
            gone = set(Random(self.number).sample(range(len(self)), 1 + int(LEAVING * len(self))))
            self._entries = [entry for place, entry in enumerate(self._entries) if place not in gone]
        else:
            self._come(1 if kind == ONE else 1 + int(COMING * len(self)))

    def _come(self, count: int) -> None:
        for _ in range(count):
            self._entries.append(self._another())

    def _another(self) -> ExpertEntry:
        seed = self._made
        self._made += 1
        name = f"person{seed * 7919 % 1000:03d}/skill{seed:05d}"  # anywhere in the order of names
        return put_expert(self._store, self.spec, name, seed=seed, rank=self._rank, size=0.2)

    def write(self) -> None:
        """The next version, with all of them."""
        self.number += 1
        policy = RoutingPolicy(top_k=2)
        manifest = manifest_of(self.spec.digest, self._entries, policy=policy, calibration=self._neutral)
        self._store.write_version(LIBRARY, self.number, manifest)

    def promote(self) -> int:
        """The version that was written last is the one to serve; its number."""
        self._store.set_current(LIBRARY, self.number)
        return self.number


def _undisturbed(process: Process, library: _Growing, kind: str, given: argparse.Namespace) -> Round:
    """A round in which this process looks for no garbage: its own pauses would count as the server's."""
    gc.collect()
    gc.disable()
    try:
        return asyncio.run(_round(process, library, kind, given))
    finally:
        gc.enable()


async def _round(process: Process, library: _Growing, kind: str, given: argparse.Namespace) -> Round:
    """Streams begin; a while nothing, then a swap, then a moment more."""
    library.change(kind)
    library.write()
    _forget_peak(process.pid)
    streams = [Stream() for _ in range(given.streams)]
    async with httpx.AsyncClient(base_url=process.url, timeout=120) as http:
        tasks = [asyncio.create_task(_follow(http, one, seed)) for seed, one in enumerate(streams)]
        await asyncio.sleep(LEAD)
        begin = time.perf_counter()
        await asyncio.sleep(given.quiet)
        middle = time.perf_counter()
        await _switched(http, await asyncio.to_thread(library.promote))
        switched = time.perf_counter()
        await asyncio.sleep(BEHIND)
        end = time.perf_counter()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    failures = [one.failure for one in streams if one.failure]
    quiet = [gap for one in streams for gap in one.gaps(begin, middle)]
    swapping = [gap for one in streams for gap in one.gaps(middle, end)]
    peak = _peak_mb(process.pid)
    return Round(kind, len(library), quiet, swapping, switched - middle, peak, failures)


async def _switched(http: httpx.AsyncClient, number: int) -> None:
    """Return when this version is served."""
    async with asyncio.timeout(SWITCHED_WITHIN):
        while (await http.get("/readyz")).json()["libraries"][0]["version"] != number:  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.1)


async def _follow(http: httpx.AsyncClient, stream: Stream, seed: int) -> None:
    """Read one stream to its end, or until cancelled."""
    draw = Random(seed)
    prompt = " ".join(f"w{draw.randrange(1000)}" for _ in range(PROMPT))
    body = {
        "model": LIBRARY,
        "prompt": prompt,
        "max_tokens": ANSWER,
        "temperature": 1,
        "seed": seed,
        "stream": True,
    }
    async with http.stream("POST", "/v1/completions", json=body) as answer:
        async for line in answer.aiter_lines():
            if answer.status_code != 200 or '"error"' in line:
                stream.failure = f"status {answer.status_code}: {line[:300]}"
            elif line.startswith("data: {"):
                stream.times.append(time.perf_counter())
    stream.failure = stream.failure or ENDED


def _peak_mb(pid: int) -> float:
    """The most memory that a process has had since it began, or since that was forgotten."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6


def _forget_peak(pid: int) -> None:
    """From here on the most memory counts anew."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def _line(place: int, row: dict[str, Any]) -> Sequence[str]:
    return [
        f"{place}, {row['round']}",
        str(row["experts"]),
        str(row["peak_mb"]),
        f"{row['swap_seconds']:.2f}",
        f"{row['median_ms']:.1f}",
        f"{row['quiet_longest_ms']:.0f}",
        f"{row['swap_longest_ms']:.0f}",
        f"{row['longest_over_median']:.1f}",
        str(len(row["failures"])),
    ]


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.swap", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", choices=SHAPES, default="small")
    parser.add_argument("--experts", type=int, default=1000)
    parser.add_argument("--rank", type=int, default=4)
    parser.add_argument("--streams", type=int, default=8)
    parser.add_argument("--swaps", type=int, default=5)
    parser.add_argument(
        "--rounds", nargs="+", choices=[ONE, ADD, LEAVE], default=[ONE], help="what versions change, in turns"
    )
    parser.add_argument(
        "--quiet", type=float, default=4.0, help="seconds of each round with nothing published"
    )
    parser.add_argument("--threads", type=int, default=1, help="of the serving process")
    return parser


if __name__ == "__main__":
    main()
