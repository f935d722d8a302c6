"""How fast the hub's pages are with 10,000 adapters and thousands of experts in a version, on both databases.

python -m bench.pages [--adapters 10000] [--seconds 20] [--databases sqlite postgresql] [--postgres postgresql://postgres@127.0.0.1:5432/postgres]

A hub on this machine (one gunicorn worker of 8 threads), adapters of 300 people in three libraries written straight into
the database, each with some sixty words of a vocabulary of 3,000; one library has a thousand versions and everything that is
measured of them. First one visitor opens each kind of page again and again, and the hub says of each what it asked the
database and what it cost, in time of its own processor too, which other work on the machine changes little. Then several
visitors open the pages that people open most, while others upload adapters through a second web process on the same
database. FLETCH_DATABASE_URL, or the option, names a database of PostgreSQL from which another one, for this bench alone,
is made and dropped. About six minutes.
"""

import argparse
import gzip
import json
import logging
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import django
import httpx
import psycopg

from bench.report import save, show

if TYPE_CHECKING:
    from bench.page_kinds import Kind

DATABASE = "fletch_bench_pages"
POSTGRES = "postgresql://postgres@127.0.0.1:5432/postgres"
THREADS, UPLOADERS = 8, 2
WARM = 2
WIDTH = 384  # of the vectors that adapters are found by in meaning
LIMIT = 100  # milliseconds of a page
TICKS = os.sysconf("SC_CLK_TCK")  # in a second


@dataclass
class Cost:
    """Of each opening of one kind of page, in milliseconds; `sent` is what a browser gets, packed."""

    queries: list[int] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)
    database: float = 0.0
    sent: int = 0

    def add(self, answer: httpx.Response) -> None:
        self.queries.append(int(answer.headers["X-Bench-Queries"]))
        self.processor.append(float(answer.headers["X-Bench-Processor"]))
        self.wall.append(float(answer.headers["X-Bench-Wall"]))


def main() -> None:
    """Measure on each database in a process of its own, print the tables, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--adapters", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--visitors", type=int, default=4)
    parser.add_argument(
        "--repeats", type=int, default=20, help="times that one visitor opens each kind of page"
    )
    parser.add_argument("--databases", nargs="+", default=["sqlite", "postgresql"])
    parser.add_argument("--postgres", default=os.environ.get("FLETCH_DATABASE_URL") or POSTGRES)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        Path(options.one).write_text(json.dumps(measure(options)))
        return
    found = {name: measure_on(name, options) for name in options.databases}
    for name, one in found.items():
        _show(name, one, options)
    save("pages", {"adapters": options.adapters, "visitors": options.visitors, "databases": found})


def _show(database: str, found: dict[str, Any], options: argparse.Namespace) -> None:
    columns = ["page", "queries", "KB sent", "processor", "p95", "database's", "answered in", "p95"]
    show(
        f"{database}, {options.adapters:,} adapters, one visitor; milliseconds of the hub, medians of {options.repeats}",
        columns,
        [_line(row) for row in found["alone"]],
    )
    over = [row["page"] for row in found["alone"] if row["processor"] + row["database"] > LIMIT]
    print(f"above {LIMIT} ms of processor: {', '.join(over) or 'none'}")
    show(
        f"{database}, {options.visitors} visitors for {options.seconds:.0f} s while {UPLOADERS} upload: "
        f"{found['pages_a_second']:.1f} pages/s, {found['uploads_a_second']:.1f} uploads/s, "
        f"{found['uploads_failed']} uploads and {found['pages_failed']} pages failed",
        ["page", "opened", "processor", "p95", "answered in", "p95"],
        [
            [row["page"], str(row["opened"])]
            + [f"{row[name]:.0f}" for name in ("processor", "processor_p95", "wall", "wall_p95")]
            for row in found["beside"]
        ],
    )


def _line(row: dict[str, Any]) -> list[str]:
    times = ("processor", "processor_p95", "database", "wall", "wall_p95")
    return [
        row["page"],
        str(row["queries"]),
        f"{row['kilobytes']:.1f}",
        *(f"{row[name]:.0f}" for name in times),
    ]


def measure_on(database: str, options: argparse.Namespace) -> dict[str, Any]:
    """Django's settings are read once in a process."""
    with tempfile.TemporaryDirectory() as data, place(database, options.postgres) as url:
        environment = {name: value for name, value in os.environ.items() if name != "FLETCH_DATABASE_URL"}
        environment |= {
            "FLETCH_DATA": data,
            "FLETCH_FREE_BYTES": "0",
            "FLETCH_SEARCH_ENCODER": "/encoders/of-the-bench",
            "DJANGO_SETTINGS_MODULE": "hub.settings",
            **({"FLETCH_DATABASE_URL": url} if url else {}),
        }
        result = Path(data) / "figures.json"
        command = [sys.executable, "-m", "bench.pages", "--one", str(result), *sys.argv[1:]]
        subprocess.run(command, env=environment, check=True)
        figures: dict[str, Any] = json.loads(result.read_text())
    return figures


@contextmanager
def place(database: str, postgres: str) -> Iterator[str]:
    """The address of a fresh database; nothing for SQLite, which is a file."""
    if database == "sqlite":
        yield ""
        return
    with psycopg.connect(postgres, autocommit=True) as admin:
        admin.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
        admin.execute(f"CREATE DATABASE {DATABASE}")
        try:
            yield urlsplit(postgres)._replace(path=f"/{DATABASE}").geturl()
        finally:
            admin.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")


def measure(options: argparse.Namespace) -> dict[str, Any]:
    logging.getLogger("httpx").setLevel(logging.WARNING)
    django.setup()
    from bench import filled_shelves, grown_library, meaning, page_kinds  # noqa: PLC0415  they need Django's settings

    shelf = filled_shelves.fill(options.adapters)
    grown = grown_library.grow()
    meaning.plant(shelf.words, WIDTH)
    kinds = page_kinds.kinds(shelf, grown)
    with serving("bench.timed:application", 18_300) as page_hub:
        alone = {kind.name: one_by_one(page_hub, kind, grown.session, options.repeats) for kind in kinds}
        with serving("hub.wsgi:application", 18_400) as upload_hub:
            busy = [kind for kind in kinds if kind.busy]
            beside = together(page_hub, upload_hub, busy, (shelf.token, shelf.library), options)
    return {"alone": [_alone(name, cost) for name, cost in alone.items()], **asdict(beside)}


def _alone(name: str, cost: Cost) -> dict[str, Any]:
    return {
        "page": name,
        "queries": max(cost.queries),
        "kilobytes": cost.sent / 1000,
        "database": cost.database,
        **_times(cost),
    }


def _times(cost: Cost) -> dict[str, float]:
    return {
        "processor": statistics.median(cost.processor),
        "processor_p95": p95(cost.processor),
        "wall": statistics.median(cost.wall),
        "wall_p95": p95(cost.wall),
    }


@dataclass(frozen=True)
class Beside:
    """What visitors met while others uploaded."""

    beside: list[dict[str, Any]]
    pages_a_second: float
    pages_failed: int
    uploads_a_second: float
    uploads_failed: int


def together(
    page_hub: str, upload_hub: str, kinds: Sequence["Kind"], who: tuple[str, str], options: argparse.Namespace
) -> Beside:
    """Visitors open pages of one web process, one after another, while others upload through another one."""
    end = time.monotonic() + options.seconds
    costs: dict[str, Cost] = defaultdict(Cost)
    uploaded: list[bool] = []
    failed: list[str] = []

    def visit(number: int) -> None:
        draw = random.Random(number)
        with httpx.Client(base_url=page_hub, timeout=60) as client:
            while time.monotonic() < end:
                kind = draw.choice(kinds)
                answer = client.get(draw.choice(kind.paths), headers={"Accept": "text/html"})
                if answer.is_success:
                    costs[kind.name].add(answer)
                else:
                    failed.append(str(answer.url))

    def upload(number: int) -> None:
        token, library = who
        bearer = {"Authorization": f"Bearer {token}"}
        with httpx.Client(base_url=upload_hub, headers=bearer, timeout=60) as client:
            while time.monotonic() < end:
                uploaded.append(send(client, library, f"{number}-{len(uploaded)}"))

    threads = [threading.Thread(target=visit, args=(n,)) for n in range(options.visitors)]
    threads += [threading.Thread(target=upload, args=(n,)) for n in range(UPLOADERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Beside(
        [{"page": name, "opened": len(cost.wall), **_times(cost)} for name, cost in sorted(costs.items())],
        sum(len(cost.wall) for cost in costs.values()) / options.seconds,
        len(failed),
        sum(uploaded) / options.seconds,
        uploaded.count(False),
    )


def send(client: httpx.Client, library: str, name: str) -> bool:
    """Whether the hub took it."""
    config = json.dumps({"peft_type": "LORA", "r": 8, "name": name}).encode()
    files = [
        ("files", ("adapter_config.json", config)),
        ("files", ("adapter_model.safetensors", os.urandom(20_000))),
        ("files", ("README.md", f"# Upload {name}\n\nCame while others looked.".encode())),
    ]
    path = f"/api/v1/libraries/{library}/adapters/upload-{name}/releases"
    answer = client.post(path, files=files)
    if not answer.is_success:
        print(f"an upload was refused: {answer.status_code} {answer.text[:300]}", file=sys.stderr)
    return answer.is_success


def one_by_one(hub: str, kind: "Kind", session: str, repeats: int) -> Cost:
    """Each opening, and on average what the database's own processes compute for one (of SQLite there are none)."""
    cost = Cost()
    cookies = {"sessionid": session} if kind.as_staff else {}
    with httpx.Client(base_url=hub, cookies=cookies, timeout=60) as client:
        for path in kind.paths[:WARM]:
            client.get(path).raise_for_status()
        before = backends()
        for number in range(repeats):
            answer = client.get(kind.paths[number % len(kind.paths)], headers={"Accept": "text/html"})
            cost.add(answer.raise_for_status())
            cost.sent = max(cost.sent, len(gzip.compress(answer.content)))
        # a connection that was closed meanwhile takes its process with it
        cost.database = sum(spent - before.get(pid, 0.0) for pid, spent in backends().items()) / repeats
    return cost


def backends() -> dict[int, float]:
    """Milliseconds of processor time of each of PostgreSQL's processes for this database (proc(5): utime and stime)."""
    from django.db import connection  # noqa: PLC0415  it needs Django's settings

    if connection.vendor != "postgresql":
        return {}
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        places = {pid: Path(f"/proc/{pid}/stat") for (pid,) in cursor.fetchall()}
    said = {
        pid: place.read_text().rpartition(")")[2].split() for pid, place in places.items() if place.exists()
    }
    return {pid: 1000 * (int(one[11]) + int(one[12])) / TICKS for pid, one in said.items()}


def p95(times: Sequence[float]) -> float:
    return statistics.quantiles(times, n=20)[-1] if len(times) > 1 else times[0]


@contextmanager
def serving(application: str, first_port: int) -> Iterator[str]:
    """A web process as `manage.py up` starts it, on a free port: its address."""
    from hub.operations import parts  # noqa: PLC0415  it needs Django's settings

    port = parts.next_free_port("127.0.0.1", first_port)
    quiet = (
        "--log-level=warning",
        f"--bind=127.0.0.1:{port}",
        f"--threads={THREADS}",
        "--worker-class=gthread",
    )
    command = [sys.executable, "-m", "gunicorn", application, *quiet]
    with subprocess.Popen(command) as process:
        try:
            address = f"http://127.0.0.1:{port}"
            await_answer(address)
            yield address
        finally:
            process.terminate()


def await_answer(address: str) -> None:
    for _ in range(300):
        try:
            httpx.get(f"{address}/healthz").raise_for_status()
        except httpx.HTTPError:
            time.sleep(0.1)
        else:
            return
    raise TimeoutError(f"{address} did not answer within 30 s")


if __name__ == "__main__":
    main()
