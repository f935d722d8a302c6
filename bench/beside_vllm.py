"""The same composed model by Fletch's own server and by vLLM with `fletch_vllm`: the same answers, and how fast.

python -m bench.beside_vllm --python .venv-vllm/bin/python [--size small] [--experts 16 256] [--requests 1 4 16]

Both are asked over HTTP, in float32, with one thread each and never at the same time. Every prompt is asked
alone and then all of them at once. It ends with an error where an answer is another one.
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import httpx

from bench.models import SHAPES
from bench.report import named, save, show
from bench.stored import LIBRARY, Stored, stored

RANK, TOP_K = 8, 2
TOLD = "size", "router", "eager", "parallel", "experts"  # by the names of results
PATIENCE = 600  # seconds until a server answers: vLLM compiles
QUIET = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1"}
Body = Mapping[str, Any]  # fields of a request beside those that all have
ON_A_CPU = {"VLLM_CPU_KVCACHE_SPACE": "2", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}


@dataclass(frozen=True)
class Heard:
    """One answer: its words, and the logarithm of each one's probability."""

    words: tuple[str, ...]
    logprobs: tuple[float, ...]


@dataclass(frozen=True)
class Measured:
    """What one server said of all prompts, and its tokens per second by number of requests."""

    alone: Sequence[Heard]
    together: Sequence[Heard]
    speeds: Mapping[int, float]


def main() -> None:
    """Ask both engines for each number of experts, print both tables, write the figures."""
    given = _arguments().parse_args()
    rows = [_row(experts, given) for experts in given.experts]
    show(
        f"{given.size}: answers of {given.tokens} tokens that are equal, of {given.prompts}; largest difference "
        "of a logarithm",
        ["experts", "vLLM, alone", "vLLM, all at once", "log p, alone", "log p, all at once", "as the base"],
        [_answers_line(row) for row in rows],
    )
    show(
        f"{given.size}: tokens per second at so many requests",
        ["experts", "server", *(str(count) for count in given.requests)],
        [line for row in rows for line in _speed_lines(row)],
    )
    for row in rows:  # each number of experts by itself: they are also asked for one by one
        kind = argparse.Namespace(**{**vars(given), "experts": row["experts"]})
        save(named("beside_vllm", kind, *TOLD), {**_settings(given), "rows": [row]})
    wrong = sum(2 * given.prompts - row["equal_alone"] - row["equal_together"] for row in rows)
    if wrong:
        raise SystemExit(f"{wrong} answers of vLLM are other ones than Fletch's")
    if any(2 * row["as_the_base"] > given.prompts for row in rows):
        raise SystemExit("most answers are the plain base's: that the others are equal shows nothing")


def _row(experts: int, given: argparse.Namespace) -> dict[str, Any]:
    library = stored(
        given.folder / f"{given.size}-{experts}", size=given.size, experts=experts, rank=RANK, top_k=TOP_K
    )
    said = {"routing": {"router": given.router}} if given.router else {}
    ours = _measured(_ours(library, given), given, said)
    plain = _plain(_ours(library, given), given)
    theirs = _measured(_theirs(library, given), given, {})
    return {
        "experts": experts,
        "equal_alone": _equal(ours.alone, theirs.alone),
        "equal_together": _equal(ours.alone, theirs.together),
        "as_the_base": _equal(plain, ours.alone),
        "difference_alone": _difference(ours.alone, theirs.alone),
        "difference_together": _difference(ours.alone, theirs.together),
        "ours": ours.speeds,
        "vllm": theirs.speeds,
    }


def _ours(library: Stored, given: argparse.Namespace) -> list[str]:
    options = ["--store", str(library.store), "--threads", str(given.threads), "--prefix-megabytes", "0"]
    return [
        sys.executable,
        "-m",
        "workers.serving",
        "--host",
        "127.0.0.1",
        "--dtype",
        "float32",
        "--device",
        "cpu",
        *options,
    ]


def _theirs(library: Stored, given: argparse.Namespace) -> list[str]:
    options = ["--dtype", "float32", "--max-model-len", "1024", "--no-enable-prefix-caching"]
    options += ["--enforce-eager"] if given.eager else []
    options += ["--tensor-parallel-size", str(given.parallel)] if given.parallel > 1 else []
    options += ["--router", given.router] if given.router else []
    command = [given.python, "-m", "fletch_vllm", "serve", str(library.checkpoint), "--name", LIBRARY]
    return [*command, "--host", "127.0.0.1", *options]


def _measured(command: Sequence[str], given: argparse.Namespace, said: Body) -> Measured:
    prompts = _asked(given)
    with _serving(command, given) as client:
        _ask(client, prompts[0], given.tokens, said)  # warm
        alone = [_ask(client, prompt, given.tokens, said) for prompt in prompts]
        together = _at_once(client, prompts, given.tokens, said)
        speeds = {count: _speed(client, count, given, said) for count in given.requests}
    return Measured(alone, together, speeds)


def _plain(command: Sequence[str], given: argparse.Namespace) -> list[Heard]:
    """What the base says without experts: answers that must be other ones, or nothing is shown by equal ones."""
    with _serving(command, given) as client:
        return _at_once(client, _asked(given), given.tokens, {"model": f"{LIBRARY}/base"})


@contextmanager
def _serving(command: Sequence[str], given: argparse.Namespace) -> Iterator[httpx.Client]:
    """A server by this command at a free port, ended with its children when the block ends."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    threads = str(given.threads)
    environment = {**os.environ, **QUIET, **ON_A_CPU, "OMP_NUM_THREADS": threads}
    log = given.folder / "server.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [*command, "--port", str(port)], stdout=output, stderr=output, env=environment
        )
    try:
        client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE)
        _wait(process, client, log)
        yield client
    finally:
        process.terminate()
        process.wait(60)


def _wait(process: subprocess.Popen[bytes], client: httpx.Client, log: Path) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if process.poll() is not None:
            break
        try:
            if any(model["id"] == LIBRARY for model in client.get("/v1/models").json()["data"]):
                return
        except httpx.TransportError:
            pass
        time.sleep(0.5)
    raise SystemExit(f"a server does not answer; see {log}:\n{log.read_text()[-3000:]}")


def _ask(client: httpx.Client, prompt: Sequence[int], tokens: int, said: Body) -> Heard:
    body = {"model": LIBRARY, "prompt": list(prompt), "max_tokens": tokens, "temperature": 0, "logprobs": 1}
    answer = client.post("/v1/completions", json={**body, **said})
    if answer.is_error:
        raise SystemExit(f"{answer.status_code}: {answer.text}")
    choice = answer.json()["choices"][0]
    return Heard(tuple(choice["text"].split()), tuple(choice["logprobs"]["token_logprobs"]))


def _at_once(client: httpx.Client, prompts: Sequence[Sequence[int]], tokens: int, said: Body) -> list[Heard]:
    with ThreadPoolExecutor(len(prompts)) as people:
        return list(people.map(lambda prompt: _ask(client, prompt, tokens, said), prompts))


def _speed(client: httpx.Client, count: int, given: argparse.Namespace, said: Body) -> float:
    """Tokens per second, the best of some tries."""
    best = 0.0
    for attempt in range(given.repeats):
        prompts = drawn_prompts(count, SHAPES[given.size].vocabulary, seed=100 * count + attempt)
        began = time.perf_counter()
        heard = _at_once(client, prompts, given.tokens, said)
        best = max(best, sum(len(one.logprobs) for one in heard) / (time.perf_counter() - began))
    return best


def _asked(given: argparse.Namespace) -> list[tuple[int, ...]]:
    return drawn_prompts(given.prompts, SHAPES[given.size].vocabulary, seed=3)


def drawn_prompts(count: int, vocabulary: int, *, seed: int) -> list[tuple[int, ...]]:
    """Prompts of 16 to 103 random tokens."""
    draw = Random(seed)
    return [
        tuple(draw.randrange(3, vocabulary) for _ in range(draw.randrange(16, 104))) for _ in range(count)
    ]


def _equal(ours: Sequence[Heard], theirs: Sequence[Heard]) -> int:
    return sum(one.words == other.words for one, other in zip(ours, theirs, strict=True))


def _difference(ours: Sequence[Heard], theirs: Sequence[Heard]) -> float:
    """The largest difference of a logarithm among the answers that are equal."""
    return max(
        (
            abs(one_log - other_log)
            for one, other in zip(ours, theirs, strict=True)
            if one.words == other.words
            for one_log, other_log in zip(one.logprobs, other.logprobs, strict=True)
        ),
        default=float("nan"),
    )


def _answers_line(row: Mapping[str, Any]) -> list[str]:
    return [
        str(row["experts"]),
        str(row["equal_alone"]),
        str(row["equal_together"]),
        f"{row['difference_alone']:.1e}",
        f"{row['difference_together']:.1e}",
        str(row["as_the_base"]),
    ]


def _speed_lines(row: Mapping[str, Any]) -> list[list[str]]:
    return [
        [str(row["experts"]), name, *(f"{speed:.1f}" for speed in row[key].values())]
        for name, key in (("Fletch", "ours"), ("vLLM", "vllm"))
    ]


def _settings(given: argparse.Namespace) -> dict[str, Any]:
    return {
        name: getattr(given, name)
        for name in ("size", "router", "threads", "tokens", "prompts", "eager", "parallel")
    }


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.beside_vllm", description=__doc__)
    parser.add_argument("--python", required=True, help="of the environment with vLLM and fletch_vllm")
    parser.add_argument("--size", choices=SHAPES, default="small")
    parser.add_argument("--experts", type=int, nargs="+", default=[16, 256])
    parser.add_argument("--router", help="another one than the library's, which is arrow, top 2")
    parser.add_argument("--requests", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--prompts", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--parallel", type=int, default=1, help="processes of vLLM's tensor parallelism")
    parser.add_argument("--eager", action="store_true", help="vLLM without compiling")
    parser.add_argument("--folder", type=Path, default=Path("build/vllm"))
    return parser


if __name__ == "__main__":
    main()
