"""A soak: a real serving process at saturation for as long as is wanted, every answer checked, nothing may grow.

python -m bench.soak [--minutes 60] [--clients 40] [--experts 30] [--callers passes] [--out FOLDER]

A library of synthetic experts on a small base, served on loopback as an operator would. Clients of all kinds ask at
once: greedy ones whose answers must be what the same version said alone, random ones of every router, length, number
of choices and way of sending, embeddings, conversations, pinned versions, private experts, clients that vanish, and requests that
are wrong. Meanwhile another index version is promoted every few seconds, and every sixth is damaged and must be refused.
A line each minute goes to the terminal and to soak.jsonl; the exit status is 1 where the verdict is bad.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from bench.models import SHAPES
from bench.report import save, show
from bench.served import Process, await_version, serving_process
from bench.soak.clients import World, ask_alone, http_client, live, standing_questions
from bench.soak.shelf import LIBRARY, Shelf, make_shelf
from bench.soak.tally import Tally
from bench.soak.verdict import JUDGED_FROM, Criterion, Rest, criteria
from bench.soak.versions import keep_changing, serve
from bench.soak.watching import Sample, keep_looking, look
from routing.store import open_store

SETTLED_WITHIN = 60.0
MINUTE = 60.0
LOOKERS = 4
PREFIX_MEGABYTES = 64  # full within minutes: what still grows then is no cache that fills
AFTERWARDS = 3600.0  # seconds that a pass is good for beyond the soak itself
HANGING_UP = 2.0  # seconds, until the process has closed what its clients have closed


def main() -> None:
    """Soak, print the verdict, write the figures."""
    given = _arguments().parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        store = str(Path(folder) / "store")
        shelf = make_shelf(open_store(store), Path(folder), size=given.size, experts=given.experts)
        shelf.publish(0)
        options = ["--threads", str(given.threads), "--prefix-megabytes", str(PREFIX_MEGABYTES)]
        options += ["--callers", given.callers]
        if given.expert_megabytes is not None:
            options += ["--expert-megabytes", str(given.expert_megabytes)]
        with serving_process(store, given.out / "serving.log", options=options) as process:
            await_version(process.url, LIBRARY, shelf.current, within=120)
            samples, tally, rest = asyncio.run(_soak(process, shelf, given))
            rest = replace(rest, exit_status=process.end())
    found = criteria(samples, tally, rest, given.out / "serving.log")
    _report(samples, tally, rest, found, given)
    raise SystemExit(0 if all(one.holds for one in found) else 1)


async def _soak(
    process: Process, shelf: Shelf, given: argparse.Namespace
) -> tuple[list[Sample], Tally, Rest]:
    async with http_client(process.url, 1, _papers(shelf, given)) as http:
        world = World(http, shelf, standing_questions(shelf), {}, Tally())
        world = replace(world, references=await _all_alone(world))
        before = await look(http, process.pid, time.monotonic())
        print(f"{len(world.references)} answers are known, the process takes {before.rss:.0f} MB", flush=True)
        samples = await _at_saturation(world, process, given)
        after = await _settled(world, process)
        again = await _all_alone(world)
        changed = [key for key, text in world.references.items() if again[key] != text]
        for manifest, place in changed:
            world.tally.fault("afterwards", f"question {place} to {manifest} has another answer than before")
        return samples, world.tally, Rest(before, after, 0)


async def _at_saturation(world: World, process: Process, given: argparse.Namespace) -> list[Sample]:
    """Everybody at once, for as long as is wanted."""
    stop, began, samples = asyncio.Event(), time.monotonic(), list[Sample]()
    headers, connections = _papers(world.shelf, given), given.clients + LOOKERS
    async with http_client(process.url, connections, headers) as http, asyncio.TaskGroup() as group:
        crowd = replace(world, http=http)
        for seed in range(given.clients):
            group.create_task(live(crowd, seed, stop))
        group.create_task(keep_changing(crowd, given.swap_seconds, stop))
        group.create_task(keep_looking(crowd, process.pid, began, samples, stop))
        for minute in range(1, max(1, round(given.minutes)) + 1):
            await asyncio.sleep(min(MINUTE, given.minutes * MINUTE))
            _note(minute, samples, world, given.out)
        stop.set()
    return samples


def _papers(shelf: Shelf, given: argparse.Namespace) -> dict[str, str]:
    """What goes with every request: a pass that is good to the end, where one is wanted."""
    if given.callers == "open":
        return {}
    return shelf.pass_for("soak", seconds=given.minutes * MINUTE + AFTERWARDS)


async def _all_alone(world: World) -> dict[tuple[str, int], str]:
    """What each cast says to the standing questions while nobody else asks."""
    found: dict[tuple[str, int], str] = {}
    for cast in range(len(world.shelf.casts)):
        await serve(world, cast)
        found |= await ask_alone(world)
    return found


async def _settled(world: World, process: Process) -> Sample:
    """The process once nobody is answered any more and connections are closed, or as it is after a minute."""
    began = time.monotonic()
    await asyncio.sleep(HANGING_UP)
    while True:
        sample = await look(world.http, process.pid, began)
        if not sample.running + sample.waiting or sample.at > SETTLED_WITHIN:
            return sample
        await asyncio.sleep(1)


def _note(minute: int, samples: list[Sample], world: World, out: Path) -> None:
    """A line for people, and one for programs."""
    lately = samples[-30:]
    row = {
        "minute": minute,
        "rss_mean": round(statistics.mean(sample.rss for sample in lately), 1),
        "rss_most": round(max(sample.rss for sample in lately), 1),
        "running_mean": round(statistics.mean(sample.running for sample in lately), 1),
        **lately[-1].to_json(),
        "version": world.shelf.current,
        "requests": world.tally.requests,
        "faults": world.tally.faults,
        "said": world.tally.said,
        "outcomes": dict(sorted(world.tally.outcomes.items())),
    }
    with (out / "soak.jsonl").open("a") as lines:
        lines.write(json.dumps(row) + "\n")
    print(
        f"minute {minute}: {row['requests']} requests, {row['faults']} faults, version {row['version']}, "
        f"{row['rss_mean']} MB (most {row['rss_most']}), {row['files']:.0f} files, {row['threads']:.0f} threads, "
        f"{row['running_mean']} running",
        flush=True,
    )


def _report(
    samples: list[Sample], tally: Tally, rest: Rest, found: list[Criterion], given: argparse.Namespace
) -> None:
    minutes = (samples[-1].at - samples[0].at) / MINUTE
    show(
        "Requests",
        ["what came of them", "how many"],
        [[k, str(v)] for k, v in sorted(tally.outcomes.items())],
    )
    rows = [[one.name, one.found, one.expected, "yes" if one.holds else "NO"] for one in found]
    show(f"Verdict over {minutes:.0f} minutes", ["criterion", "found", "expected", "holds"], rows)
    for reason in tally.said:
        print(reason)
    figures: dict[str, Any] = {
        "minutes": round(minutes, 1),
        "size": given.size,
        "experts": given.experts,
        "clients": given.clients,
        "requests": tally.requests,
        "outcomes": dict(sorted(tally.outcomes.items())),
        "verdict": [asdict(one) for one in found],
        "faults": tally.said,
        "at_rest": {"before": rest.before.to_json(), "after": rest.after.to_json()},
        "each_minute": [
            sample.to_json() for sample in samples[:: max(1, len(samples) // max(1, round(minutes)))]
        ],
    }
    if minutes >= JUDGED_FROM:  # of a shorter one no figure is kept
        save("soak", figures)


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--clients", type=int, default=40)
    parser.add_argument("--experts", type=int, default=30)
    parser.add_argument(
        "--expert-megabytes", type=int, help="of the serving process; default: none, all in memory"
    )
    parser.add_argument("--size", choices=SHAPES, default="tiny")
    parser.add_argument("--threads", type=int, default=1, help="of the serving process")
    parser.add_argument(
        "--callers",
        choices=("open", "passes"),
        default="open",
        help="whom it answers; passes are signed here",
    )
    parser.add_argument("--swap-seconds", type=float, default=4, help="between one version and the next")
    parser.add_argument("--out", type=Path, default=Path("soak"), help="folder for soak.jsonl and the log")
    return parser


if __name__ == "__main__":
    main()
