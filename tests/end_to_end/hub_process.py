"""A whole hub as an operator runs it: `manage.py up` on free ports, used only through its doors."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx

PROJECT = Path(__file__).parents[2]
# To start Django costs a second: the commands share one process.
COMMANDS = """
import io, json, os, sys
import django
from django.core.management import call_command
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hub.settings")
django.setup()
said = []
for name, *arguments in json.loads(sys.argv[1]):
    out = io.StringIO()
    call_command(name, *arguments, stdout=out)
    said.append(out.getvalue())
print("\\n" + json.dumps(said))
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def eventually(fact: Callable[[], Any], *, log: Path, seconds: float = 60.0) -> Any:
    """The first true answer; fails with the end of the log, because the reason is there."""
    last_moment = time.monotonic() + seconds
    while not (answer := fact()):
        if time.monotonic() > last_moment:
            raise AssertionError(f"not true after {seconds:.0f} s\n{log.read_text()[-8000:]}")
        time.sleep(0.1)
    return answer


@dataclass
class RunningHub:
    """Its addresses, and what an operator and contributors do with it."""

    web: str
    serving: str
    environment: Mapping[str, str]
    log: Path
    clients: contextlib.ExitStack

    def manage(self, *arguments: str) -> str:
        """A management command; its output."""
        return self._run("manage.py", *arguments)

    def people(self, scopes: Mapping[str, Sequence[str]], *more: Sequence[str]) -> dict[str, str]:
        """New users and a token of each with its scopes, then more management commands; the tokens by name."""
        new = [["create_user", name, "--email", f"{name}@example.org"] for name in scopes]
        tokens = [
            ["create_token", name, *(word for scope in chosen for word in ("--scope", scope))]
            for name, chosen in scopes.items()
        ]
        *_, last = self._run("-c", COMMANDS, json.dumps([*new, *tokens, *more])).splitlines()
        said = json.loads(last)[len(new) :]
        return {name: text.splitlines()[-1] for name, text in zip(scopes, said, strict=False)}

    def client(self, token: str) -> httpx.Client:
        """Of the JSON API, with this token."""
        return self.clients.enter_context(
            httpx.Client(
                base_url=f"{self.web}/api/v1", headers={"Authorization": f"Bearer {token}"}, timeout=60
            )
        )

    def contributor(self, name: str, *scopes: str) -> httpx.Client:
        """A new user's client, with their token."""
        return self.client(self.people({name: scopes})[name])

    def _run(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments],
            env=dict(self.environment),
            cwd=PROJECT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{arguments}\n{done.stdout}\n{done.stderr}"
        return done.stdout.strip()

    @cached_property
    def serving_client(self) -> httpx.Client:
        return self.clients.enter_context(httpx.Client(base_url=self.serving, timeout=60))

    def ask(self, prompt: str | list[int], **fields: Any) -> dict[str, Any]:
        body = {"model": "tiny", "prompt": prompt, "temperature": 0, **fields}
        answer = self.serving_client.post("/v1/completions", json=body)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def served_version(self, library: str = "tiny") -> int | None:
        """What the serving process says; None before it knows the library."""
        report = self.serving_client.get("/readyz").json()
        return next((one["version"] for one in report["libraries"] if one["library"] == library), None)


@contextlib.contextmanager
def running_hub(
    folder: Path, services: Mapping[str, str], *, web_port: int | None = None
) -> Iterator[RunningHub]:
    web, serving = web_port or free_port(), free_port()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FLETCH_")}
    ours = {
        "FLETCH_DATA": str(folder),
        "FLETCH_FREE_BYTES": "0",
        "DJANGO_SETTINGS_MODULE": "hub.settings",
        "OMP_NUM_THREADS": "1",
    }
    environment = {**kept, **ours, **services}
    log = folder.parent / "up.log"
    ports = ("--web-port", str(web), "--serving-port", str(serving), "--workers", "2")
    with log.open("w") as output:
        up = subprocess.Popen(
            [sys.executable, "manage.py", "up", *ports],
            env=environment,
            cwd=PROJECT,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    clients = contextlib.ExitStack()
    hub = RunningHub(f"http://127.0.0.1:{web}", f"http://127.0.0.1:{serving}", environment, log, clients)
    try:
        eventually(lambda: "Fletch is ready" in log.read_text() or up.poll() is not None, log=log, seconds=90)
        assert up.poll() is None, log.read_text()
        with clients:
            yield hub
        up.send_signal(signal.SIGINT)
        assert up.wait(40) == 0, log.read_text()[-4000:]
    finally:
        if up.poll() is None:
            up.kill()  # its parts end with it
            up.wait()


def files_of(folder: Path) -> list[tuple[str, Any]]:
    """A PEFT folder as the fields of a form."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    parts: list[tuple[str, Any]] = [("files", (path.name, path.read_bytes())) for path in paths]
    return [*parts, *(("paths", (None, str(path.relative_to(folder)))) for path in paths)]


def events(response: httpx.Response) -> Iterator[dict[str, Any]]:
    """Server-sent events up to [DONE]."""
    for line in response.iter_lines():
        if line.startswith("data: ") and line != "data: [DONE]":
            yield json.loads(line.removeprefix("data: "))
