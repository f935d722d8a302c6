"""Libraries in a store of their own with synthetic experts, and a real serving process over them."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from bench.models import Shape, llama
from routing.base import inspect_base
from routing.factors import Factors
from routing.index import ExpertEntry
from routing.prototypes import routing_vectors
from routing.spec import BaseRef, BaseSpec
from routing.store import IndexStore, LibraryRef

RELEASE = "a" * 40
STARTS_WITHIN = 180.0
ENDS_WITHIN = 30.0


@dataclass(frozen=True)
class Process:
    """A serving process: where it answers, and where its log lies."""

    url: str
    running: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        """Its number."""
        return self.running.pid

    def end(self) -> int:
        """Tell it to end, and return how it did; a process that does not is killed, and -9 returned."""
        self.running.terminate()
        try:
            return self.running.wait(ENDS_WITHIN)
        except subprocess.TimeoutExpired:
            self.running.kill()
            return self.running.wait()


def spaced_words(vocabulary: int) -> PreTrainedTokenizerFast:
    """A tokenizer that knows the words w0, w1, ... between spaces, so that any of its texts can be sent."""
    tokenizer = Tokenizer(
        models.WordLevel({f"w{place}": place for place in range(vocabulary)}, unk_token="w0")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.decoder = decoders.Sequence([decoders.Replace("w", " w"), decoders.Fuse()])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


def found_library(store: IndexStore, name: str, shape: Shape, folder: Path) -> BaseSpec:
    """Save a base of this shape in `folder`, and begin a library on it; its specification."""
    llama(shape).save_pretrained(folder)
    spaced_words(shape.vocabulary).save_pretrained(folder)
    ref = BaseRef(str(folder))
    spec = inspect_base(ref, name=f"bench-{name}")
    store.set_library(name, LibraryRef(ref, store.put_base(spec)))
    return spec


def put_expert(
    store: IndexStore, spec: BaseSpec, adapter: str, *, seed: int, rank: int = 4, size: float = 0.5
) -> ExpertEntry:
    """Keep a random expert of all target modules in canonical form, its largest singular values `size`."""
    stored = store.put_expert(routing_vectors(found := random_factors(spec, seed, rank, size)), found)
    return ExpertEntry(adapter, RELEASE, **asdict(stored))


def random_factors(spec: BaseSpec, seed: int, rank: int, size: float) -> dict[str, Factors]:
    """Orthonormal rows, falling singular values: as admission makes them of an upload."""
    generator, sigma = torch.Generator().manual_seed(seed), torch.linspace(size, size / 2, rank)

    def frame(width: int) -> torch.Tensor:
        return torch.linalg.qr(torch.randn(width, rank, generator=generator)).Q

    return {
        module.name: Factors(frame(module.d_in).T.contiguous(), frame(module.d_out) * sigma, sigma.clone())
        for module in spec.target_modules
    }


@contextmanager
def serving_process(store: str, log: Path, *, options: Sequence[str] = ()) -> Iterator[Process]:
    """`python -m workers.serving` over a store, on a free port of this machine; killed if still there at the end."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "workers.serving", "--store", store, "--port", str(port)]
    with log.open("wb") as lines:
        running = subprocess.Popen([*command, "--device", "cpu", *options], stderr=lines, stdout=lines)
    try:
        process = Process(f"http://127.0.0.1:{port}", running, log)
        _await_ready(process)
        yield process
    finally:
        if running.poll() is None:
            running.kill()
        running.wait()


def await_version(url: str, library: str, number: int, *, within: float = 60.0) -> None:
    """Return once this version is served; TimeoutError says what is served instead."""
    deadline = time.monotonic() + within
    while (report := report_of(url, library)).get("version") != number:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{library} version {number} is not served after {within:.0f} s: {report}")
        time.sleep(0.05)


def report_of(url: str, library: str) -> dict[str, object]:
    """What /readyz says of a library; nothing if it does not know it."""
    reports = httpx.get(f"{url}/readyz", timeout=60).json()["libraries"]
    return next((report for report in reports if report["library"] == library), {})


def _await_ready(process: Process) -> None:
    deadline = time.monotonic() + STARTS_WITHIN
    while time.monotonic() < deadline:
        if process.running.poll() is not None:
            raise RuntimeError(f"the serving process ended: {process.log.read_text()[-2000:]}")
        try:
            if httpx.get(f"{process.url}/readyz", timeout=60).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise TimeoutError(f"the serving process is not ready: {process.log.read_text()[-2000:]}")
