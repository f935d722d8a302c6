"""How fast the hub's pages are with 10,000 adapters, on both databases, alone and while others upload.

python -m bench.pages [--adapters 10000] [--seconds 15] [--visitors 4] [--postgres postgresql://postgres@127.0.0.1:5432/postgres]

A hub on this machine (one gunicorn worker of 8 threads), adapters of 300 people in three libraries written straight into
the database, each with some sixty words of a vocabulary of 3,000. First one visitor opens each kind of page again and again, and
the web process's own processor time is taken, which other work on the machine changes little;
then several visitors open all kinds while one person uploads adapters one after another. The address of PostgreSQL names
a database from which another one, for this bench alone, is made and dropped.
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
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import django
import httpx
import psycopg

from bench.report import save, show

DATABASE = "fletch_bench_pages"
THREADS = 8
WARM = 3
TICKS = os.sysconf("SC_CLK_TCK")  # in a second


def main() -> None:
    """Measure on each database in a process of its own, print the table, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--adapters", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--visitors", type=int, default=4)
    parser.add_argument(
        "--repeats", type=int, default=40, help="times that one visitor opens each kind of page"
    )
    parser.add_argument("--postgres", default="postgresql://postgres@127.0.0.1:5432/postgres")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options)))
        return
    rows = [row for name in ("sqlite", "postgresql") for row in measure_on(name, options)]
    show(
        f"{options.adapters:,} adapters; {options.visitors} visitors while one uploads, for {options.seconds:.0f} s; milliseconds",
        [
            "page",
            "KB sent",
            "processor",
            "alone, median",
            "alone, p95",
            "beside, median",
            "beside, p95",
            "pages/s",
            "uploads/s",
        ],
        [line(row) for row in rows],
    )
    save("pages", {"adapters": options.adapters, "visitors": options.visitors, "rows": rows})


def line(row: dict[str, Any]) -> list[str]:
    times = [f"{row[name]:.0f}" for name in ("alone", "alone_p95", "beside", "beside_p95")]
    return [
        f"{row['database']}: {row['page']}",
        f"{row['kilobytes']:.1f}",
        f"{row['processor']:.0f}",
        *times,
        f"{row['pages_a_second']:.0f}",
        f"{row['uploads_a_second']:.1f}",
    ]


def measure_on(database: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Django's settings are read once in a process."""
    with tempfile.TemporaryDirectory() as data, place(database, options.postgres) as url:
        environment = {
            **os.environ,
            "FLETCH_DATA": data,
            "FLETCH_FREE_BYTES": "0",
            "DJANGO_SETTINGS_MODULE": "hub.settings",
            **({"FLETCH_DATABASE_URL": url} if url else {}),
        }
        done = subprocess.run(
            [sys.executable, "-m", "bench.pages", "--one", *sys.argv[1:]],
            env=environment,
            stdout=subprocess.PIPE,
            check=True,
        )
    rows: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return [{"database": database, **row} for row in rows]


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


def measure(options: argparse.Namespace) -> list[dict[str, Any]]:
    logging.getLogger("httpx").setLevel(logging.WARNING)
    django.setup()
    from bench import filled_shelves  # noqa: PLC0415  it needs Django's settings, which the parent does not have

    shelf = filled_shelves.fill(options.adapters)
    with serving() as (address, web):
        pages = pages_of(shelf.words, shelf.adapters)
        alone, processor = {}, {}
        for name, paths in pages.items():
            alone[name], processor[name] = one_by_one(address, web, paths, options.repeats)
        beside, uploads = together(address, pages, shelf.token, shelf.library, options)
        sizes = {name: weight(address, paths[0]) for name, paths in pages.items()}
    total = sum(len(times) for times in beside.values())
    return [
        {
            "page": name,
            "kilobytes": sizes[name] / 1000,
            "processor": processor[name] * 1000,
            "alone": statistics.median(alone[name]) * 1000,
            "alone_p95": p95(alone[name]) * 1000,
            "beside": statistics.median(beside[name]) * 1000,
            "beside_p95": p95(beside[name]) * 1000,
            "pages_a_second": total / options.seconds,
            "uploads_a_second": uploads / options.seconds,
        }
        for name in pages
    ]


def pages_of(words: Sequence[str], adapters: Sequence[str]) -> dict[str, list[str]]:
    """Kinds of pages with the addresses that visitors open."""
    draw = random.Random(3)
    return {
        "home": ["/"],
        "browse": ["/adapters", "/adapters?page=2", "/adapters?sort=downloads"],
        "one word": [f"/adapters?q={word}" for word in draw.sample(words, 50)],
        "beginning": [f"/adapters?q={word[:2]}" for word in draw.sample(words, 50)],
        "two words, facets": [
            f"/adapters?q={quote(' '.join(draw.sample(words[:40], 2)))}&library=bench-1&licence=mit&rank=5-8"
            for _ in range(50)
        ],
        "facets": [f"/adapters?library=bench-{n}&status=ready&rank=9-16&sort=likes" for n in range(3)],
        "adapter": [f"/{name}" for name in draw.sample(adapters, 50)],
        "api": [f"/api/v1/adapters?search={word}" for word in draw.sample(words, 50)],
        "wire": [f"/api/models?search={word}&limit=30" for word in draw.sample(words, 50)],
    }


def together(
    address: str, pages: dict[str, list[str]], token: str, library: str, options: argparse.Namespace
) -> tuple[dict[str, list[float]], int]:
    """Seconds by kind of page while somebody uploads, and how many uploads were taken."""
    end = time.monotonic() + options.seconds
    took: dict[str, list[float]] = defaultdict(list)
    uploads: list[int] = []

    def visit(number: int) -> None:
        draw = random.Random(number)
        with httpx.Client(base_url=address) as client:
            while time.monotonic() < end:
                name = draw.choice(list(pages))
                took[name].append(opened(client, draw.choice(pages[name])))

    def upload() -> None:
        with httpx.Client(base_url=address, headers={"Authorization": f"Bearer {token}"}) as client:
            while time.monotonic() < end:
                send(client, library, len(uploads))
                uploads.append(1)

    threads = [threading.Thread(target=visit, args=(n,)) for n in range(options.visitors)]
    for thread in [*threads, threading.Thread(target=upload)]:
        thread.start()
    for thread in threads:
        thread.join()
    return took, len(uploads)


def send(client: httpx.Client, library: str, number: int) -> None:
    config = json.dumps({"peft_type": "LORA", "r": 8, "seed": number}).encode()
    files = [
        ("files", ("adapter_config.json", config)),
        ("files", ("adapter_model.safetensors", os.urandom(20_000))),
        ("files", ("README.md", f"# Upload {number}\n\nCame while others looked.".encode())),
    ]
    path = f"/api/v1/libraries/{library}/adapters/upload-{number}/releases"
    client.post(path, files=files).raise_for_status()


def one_by_one(address: str, web: int, paths: Sequence[str], repeats: int) -> tuple[list[float], float]:
    """Seconds of each opening, and the mean of what the web process computes for one (SQLite is inside it)."""
    with httpx.Client(base_url=address) as client:
        for path in paths[:WARM]:
            opened(client, path)
        before = computed(web)
        times = [opened(client, paths[number % len(paths)]) for number in range(repeats)]
        return times, (computed(web) - before) / repeats


def computed(process: int) -> float:
    """Seconds of processor time of a process and its children so far (proc(5): utime and stime)."""
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    fields = [
        Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split() for one in (process, *children)
    ]
    return sum(int(said[11]) + int(said[12]) for said in fields) / TICKS


def opened(client: httpx.Client, path: str) -> float:
    began = time.perf_counter()
    answer = client.get(path, headers={"Accept": "text/html"})
    took = time.perf_counter() - began
    answer.raise_for_status()
    return took


def weight(address: str, path: str) -> int:
    """Bytes of the page as it is sent, packed by gzip as a proxy does it."""
    return len(gzip.compress(httpx.get(address + path).content))


def p95(times: Sequence[float]) -> float:
    return statistics.quantiles(times, n=20)[-1] if len(times) > 1 else times[0]


@contextmanager
def serving() -> Iterator[tuple[str, int]]:
    """The web process as `manage.py up` starts it, on a free port: its address and the number of its process."""
    from hub.operations import parts  # noqa: PLC0415  it needs Django's settings

    port = parts.next_free_port("127.0.0.1", 18_300)
    quiet = (
        "--log-level=warning",
        f"--bind=127.0.0.1:{port}",
        f"--threads={THREADS}",
        "--worker-class=gthread",
    )
    command = [sys.executable, "-m", "gunicorn", "hub.wsgi:application", *quiet]
    with subprocess.Popen(command) as process:
        try:
            address = f"http://127.0.0.1:{port}"
            await_answer(address)
            yield address, process.pid
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
