"""Ten thousand experts in a memory for some of them: load seconds, memory, tokens a second and hit rates.

python -m bench.many_experts [--experts 10000] [--budgets 512 1024 2048] [--answers 400]

A small base and synthetic experts (rank 2, on all linear layers) in a store on disk. Prompts are drawn from many by Zipf's
law, and each is for the expert that the evidence of prototypes names, as in a new library; the last row narrows a
library that routes by Arrow alone. Every row is a fresh process, eight answers at a time; `all` holds everybody.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from pathlib import Path
from queue import Empty, SimpleQueue
from random import Random
from typing import Any

import torch
from rich.progress import track

from bench.models import SHAPES, llama, words
from bench.report import save, show
from routing.base import inspect_base, load_base
from routing.engine import Engine, Step
from routing.factors import Factors
from routing.generation import Generation, Request
from routing.index import ExpertEntry, RoutingPolicy, manifest_of
from routing.neutral import neutral_tokens
from routing.prototypes import routing_vectors
from routing.residence import MEGABYTE, Residence
from routing.resident import Shelf
from routing.routes import routing_of
from routing.sampling import Sampling
from routing.spec import BaseRef, BaseSpec
from routing.store import Current, IndexStore, LibraryRef, open_store
from workers.serving import heap
from workers.serving.base_loading import load_model
from workers.serving.metrics import Metrics
from workers.serving.options import Options
from workers.serving.room import Room
from workers.serving.versions import Version, assemble

LIBRARY, RANK, AT_ONCE = "bench", 2, 8
PROMPTS, PROMPT_TOKENS, ANSWER_TOKENS, ZIPF = 4000, 32, 16, 1.0
ONE_EACH, NARROWED = 1, 2  # numbers of the index versions: a policy each
POLICIES = {
    ONE_EACH: RoutingPolicy(top_k=1, shortlist=1, prior="evidence"),
    NARROWED: RoutingPolicy(top_k=2),
}


@dataclass(frozen=True)
class Row:
    """What one process measured; memory in MB is what it holds beside the base."""

    budget: int | None
    version: int
    parts: int
    load_seconds: float
    memory: float
    tokens_per_second: float
    hit_rate: float | None
    wait_median: float
    wait_p95: float
    narrowed: int


def main() -> None:
    """Build the store, measure each budget in a process of its own, print the table, write the figures."""
    given = _arguments().parse_args()
    if given.measure is not None:
        print(
            json.dumps(
                asdict(measure(Path(given.store), given.measure or None, given.version, given.answers))
            )
        )
        return
    with tempfile.TemporaryDirectory() as folder:
        build(Path(folder), given.experts)
        budgets = [(budget, ONE_EACH) for budget in [*given.budgets, 0]]
        runs = [*budgets, (given.budgets[-1], NARROWED)]
        rows = [_in_a_process(folder, budget, version, given.answers) for budget, version in runs]
        size = sum(path.stat().st_size for path in Path(folder).rglob("objects/*/*"))
    show(
        f"{given.experts:,} experts of {size / given.experts / 1024:.0f} KB, {given.answers} answers of "
        f"{ANSWER_TOKENS} tokens, {AT_ONCE} at a time",
        [
            "memory for experts",
            "judged at one in",
            "load, s",
            "process, MB",
            "tokens/s",
            "hits",
            "wait, ms (median, 95 %)",
        ],
        [_line(row) for row in rows],
    )
    save("many_experts", {"experts": given.experts, "bytes": size, "rows": [asdict(row) for row in rows]})


def build(folder: Path, experts: int) -> None:
    """A store with one library of so many experts, and its base beside it."""
    model = llama(SHAPES["tiny"])
    model.save_pretrained(folder / "base")
    words(model.config.vocab_size).save_pretrained(folder / "base")
    ref, store = BaseRef(str(folder / "base")), open_store(str(folder / "store"))
    base = load_base(ref, spec=inspect_base(ref, name="bench"))
    text = store.put_neutral(neutral_tokens(base, sequences=8, length=32))
    digest = store.put_base(base.spec)
    store.set_library(LIBRARY, LibraryRef(ref, digest, text))
    entries = [
        _expert(store, base.spec, number) for number in track(range(experts), "experts", transient=True)
    ]
    for number, policy in POLICIES.items():
        store.write_version(LIBRARY, number, manifest_of(digest, entries, policy=policy, calibration=text))


def _expert(store: IndexStore, spec: BaseSpec, number: int) -> ExpertEntry:
    """A random expert: its directions are unit vectors, nearly orthonormal in so many dimensions."""
    seed, factors = torch.Generator().manual_seed(number), {}
    for module in spec.target_modules:
        a = torch.nn.functional.normalize(torch.randn(RANK, module.d_in, generator=seed), dim=-1)
        b = 0.02 * torch.randn(module.d_out, RANK, generator=seed)
        factors[module.name] = Factors(a, b, torch.linalg.vector_norm(b, dim=0))
    kept = store.put_expert(routing_vectors(factors), factors)
    return ExpertEntry(f"person{number:05d}/adapter", f"{number:040x}", **asdict(kept))


def measure(folder: Path, megabytes: int | None, number: int, answers: int) -> Row:
    """Load one version as a serving process does, and answer."""
    torch.set_num_threads(1)
    store = open_store(str(folder / "store"))
    ref = store.library_ref(LIBRARY)
    assert ref is not None
    model, metrics = load_model(store, ref, Options(store="")), Metrics()
    before, began = _memory(), time.perf_counter()
    shelf = None if megabytes is None else Shelf(Residence(megabytes * MEGABYTE, witness=metrics))
    version = assemble(
        store,
        model,
        library=LIBRARY,
        current=Current(number, store.version_digest(LIBRARY, number)),
        previous=None,
        room=Room(shelf),
    )
    load_seconds = time.perf_counter() - began
    heap.settle()
    Clients(version, _drawn(model.base.spec.vocabulary, 3 * AT_ONCE, seed=1)).answer_all()  # warm
    hits, misses = _asked(metrics)
    clients = Clients(version, _drawn(model.base.spec.vocabulary, answers, seed=2))
    began = time.perf_counter()
    clients.answer_all()
    seconds = time.perf_counter() - began
    later, waits = _asked(metrics), sorted(clients.waits)
    asked = later[0] - hits + later[1] - misses
    return Row(
        megabytes,
        number,
        version.pack.parts,
        load_seconds,
        _memory() - before,
        answers * ANSWER_TOKENS / seconds,
        (later[0] - hits) / asked if asked else None,
        waits[len(waits) // 2],
        waits[len(waits) * 95 // 100],
        clients.narrowed,
    )


def _drawn(vocabulary: int, count: int, *, seed: int) -> list[tuple[int, ...]]:
    """Prompts of many, the n-th most popular asked 1/n times as often as the first (Zipf's law)."""
    shares = list(accumulate(rank**-ZIPF for rank in range(1, PROMPTS + 1)))
    draw = Random(seed)
    asked = draw.choices(range(PROMPTS), cum_weights=shares, k=count)
    return [tuple(Random(place).randrange(vocabulary) for _ in range(PROMPT_TOKENS)) for place in asked]


class Clients:
    """Eight who ask one prompt after another; everybody's answers share one engine."""

    def __init__(self, version: Version, prompts: Sequence[tuple[int, ...]]) -> None:
        self.waits: list[float] = []
        self.narrowed = 0
        self._version = version
        self._routing = routing_of(version.policy)
        self._prompts = SimpleQueue[tuple[int, ...]]()
        for prompt in prompts:
            self._prompts.put(prompt)
        self._engine = Engine()

    def answer_all(self) -> None:
        """Return when everything is answered; SystemExit if anything failed."""
        wanted, stop = self._prompts.qsize(), threading.Event()
        runner = threading.Thread(target=self._run, args=(stop,))
        clients = [threading.Thread(target=self._ask) for _ in range(AT_ONCE)]
        for thread in [runner, *clients]:
            thread.start()
        for thread in clients:
            thread.join()
        stop.set()
        runner.join()
        if len(self.waits) != wanted:
            raise SystemExit("not every answer came: nothing to report")

    def _ask(self) -> None:
        with contextlib.suppress(Empty):
            while True:
                self._answer(self._prompts.get_nowait())

    def _answer(self, prompt: tuple[int, ...]) -> None:
        """One answer; its route, and so its experts, are let go with this frame."""
        began = time.perf_counter()
        way = self._version.queries.route(self._routing, prompt)
        self.waits.append(time.perf_counter() - began)
        self.narrowed += way.narrowed is not None
        ended: SimpleQueue[Exception | None] = SimpleQueue()

        def heard(step: Step) -> None:
            if step.error is not None or step.finish is not None:
                ended.put(step.error)

        request = Request(prompt, ANSWER_TOKENS, route=way, sampling=Sampling(0.0))
        self._engine.submit([(Generation(self._version.model, request), heard)])
        if (error := ended.get()) is not None:
            raise error

    def _run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            if self._engine.wait(0.1):
                self._engine.step()


def _asked(metrics: Metrics) -> tuple[float, float]:
    """How many experts were wanted that were in memory, and that were not."""
    values = {sample.name: sample.value for metric in metrics.registry.collect() for sample in metric.samples}
    return values.get("fletch_resident_hits_total", 0.0), values.get("fletch_resident_misses_total", 0.0)


def _memory() -> float:
    """MB of this process's own memory: files that are mapped are not its own."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    fields = dict(line.split(":", 1) for line in status.splitlines())
    return int(fields["RssAnon"].split()[0]) / 1024


def _in_a_process(folder: str, budget: int, version: int, answers: int) -> Row:
    asked = [
        "--store",
        folder,
        "--measure",
        str(budget),
        "--version",
        str(version),
        "--answers",
        str(answers),
    ]
    done = subprocess.run(
        [sys.executable, "-m", "bench.many_experts", *asked], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    fields: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return Row(**fields)


def _line(row: Row) -> list[str]:
    name = "all" if row.budget is None else f"{row.budget} MB"
    return [
        f"{name}, narrowed" if row.version == NARROWED else name,
        f"{row.parts} modules",
        f"{row.load_seconds:.1f}",
        f"{row.memory:.0f}",
        f"{row.tokens_per_second:.0f}",
        "" if row.hit_rate is None else f"{100 * row.hit_rate:.0f} %",
        f"{1000 * row.wait_median:.0f}, {1000 * row.wait_p95:.0f}",
    ]


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.many_experts", description=__doc__)
    parser.add_argument("--experts", type=int, default=10_000)
    parser.add_argument("--budgets", type=int, nargs="+", default=[512, 1024, 2048], help="megabytes")
    parser.add_argument("--answers", type=int, default=400)
    parser.add_argument("--measure", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--version", type=int, default=ONE_EACH, help=argparse.SUPPRESS)
    parser.add_argument("--store", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    main()
