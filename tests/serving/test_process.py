"""The serving process as an operator starts it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from tests.routing.libraries import TEXT, SmallLibrary
from tests.routing.published import PublishedLibrary
from workers.serving.__main__ import arguments


@pytest.fixture
def address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return f"127.0.0.1:{free.getsockname()[1]}"


@pytest.fixture
def process(published: PublishedLibrary, address: str) -> Iterator[subprocess.Popen[bytes]]:
    published.publish(1)
    host, port = address.split(":")
    command = [
        sys.executable,
        "-m",
        "workers.serving",
        "--store",
        published.url,
        "--host",
        host,
        "--port",
        port,
    ]
    process = subprocess.Popen([*command, "--device", "cpu", "--log-format", "json"], stderr=subprocess.PIPE)
    yield process
    process.kill()
    process.communicate()


@dataclass(frozen=True)
class Begun:
    """What a process found of itself when it was about to listen, and what it wrote as errors."""

    found: dict[str, Any]
    errors: str


@pytest.fixture(scope="module")
def begun(small_library: SmallLibrary, tmp_path_factory: pytest.TempPathFactory) -> Begun:
    store = PublishedLibrary(tmp_path_factory.mktemp("store"), small_library)
    script = (
        "import gc, json, runpy, sys, uvicorn\n"
        "foreign = {'hub', 'django', 'celery', 'redis', 'psycopg', 'peft'}\n"
        "uvicorn.Server.run = lambda self: setattr(self, 'started', True) or print(json.dumps({\n"
        "    'foreign': sorted(foreign & sys.modules.keys()), 'traces': 'opentelemetry' in sys.modules,\n"
        "    'objects': len(gc.get_objects()), 'frozen': gc.get_freeze_count(), 'collects': gc.isenabled(),\n"
        "    'switch': sys.getswitchinterval()}))\n"
        f"sys.argv = ['workers.serving', '--store', {store.url!r}, '--device', 'cpu']\n"
        "runpy.run_module('workers.serving', run_name='__main__')"
    )
    told = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    run = subprocess.run(
        [sys.executable, "-c", script],
        env={**told, "OMP_DISPLAY_ENV": "TRUE"},
        capture_output=True,
        check=True,
        text=True,
    )
    return Begun(json.loads(run.stdout.splitlines()[-1]), run.stderr)


def test_it_starts_answers_and_ends_when_told_to(process: subprocess.Popen[bytes], address: str) -> None:
    deadline = time.monotonic() + 90
    version = None
    while version is None and time.monotonic() < deadline:
        try:
            libraries = httpx.get(f"http://{address}/readyz").json()["libraries"]
        except httpx.TransportError:
            libraries = []
        version = libraries[0]["version"] if libraries else None
        time.sleep(0.1)
    body = {"model": "tales", "prompt": TEXT, "max_tokens": 200, "temperature": 0, "stream": True}

    with httpx.stream("POST", f"http://{address}/v1/completions", json=body, timeout=60) as answer:
        lines = answer.iter_lines()
        next(lines)
        process.send_signal(signal.SIGTERM)
        rest = list(lines)

    assert version == 1
    assert "data: [DONE]" in rest, "an answer in flight is finished first"
    assert process.wait(timeout=30) in (0, -signal.SIGTERM)
    assert process.stderr is not None
    written = [json.loads(line) for line in process.stderr]
    assert [line["status"] for line in written if line.get("path") == "/v1/completions"] == [200]


def test_it_imports_neither_the_hub_nor_its_frameworks_and_lets_its_threads_sleep(begun: Begun) -> None:
    assert begun.found["foreign"] == []
    assert "OMP_WAIT_POLICY = 'PASSIVE'" in begun.errors


def test_fewer_than_no_versions_with_private_experts_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        arguments().parse_args(["--store", "store", "--private-versions", "-1"])

    assert "found -1, expected 0 or more" in capsys.readouterr().err


def test_what_was_imported_is_not_looked_at_again_for_garbage(begun: Begun) -> None:
    found = begun.found

    assert found["objects"] < found["frozen"]
    assert (found["collects"], found["switch"]) == (True, 0.0005)


def test_a_process_that_sends_no_traces_imports_nothing_of_it(begun: Begun) -> None:
    assert begun.found["traces"] is False
