"""What a running `up` leaves for others to find: who it is and where its parts listen (data/run)."""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hub.errors import Conflict


class AlreadyRunning(Conflict):
    """Another `up` keeps this data directory running."""

    code = "already_running"


@dataclass(frozen=True)
class RunState:
    """Of one running supervisor: its process, the addresses of its parts and their first processes."""

    pid: int
    addresses: Mapping[str, str]
    parts: Mapping[str, int]


@contextmanager
def sole_run(directory: Path) -> Iterator[None]:
    """Hold the data directory's one place for a supervisor; the kernel frees it when the process dies.

    Raises AlreadyRunning, with the addresses of the other one.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "up.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRunning(_said_of(read_state(directory))) from None
        try:
            yield
        finally:
            (directory / "up.json").unlink(missing_ok=True)


def write_state(directory: Path, *, addresses: Mapping[str, str], parts: Mapping[str, int]) -> None:
    state = RunState(pid=os.getpid(), addresses=addresses, parts=parts)
    fresh = directory / "up.json.new"
    fresh.write_text(json.dumps(asdict(state), indent=1))
    fresh.replace(directory / "up.json")


def read_state(directory: Path) -> RunState | None:
    """What the supervisor of this data directory last wrote, or None."""
    try:
        fields: dict[str, Any] = json.loads((directory / "up.json").read_text())
    except FileNotFoundError:
        return None
    return RunState(pid=fields["pid"], addresses=fields["addresses"], parts=fields["parts"])


def _said_of(state: RunState | None) -> str:
    if state is None:
        return "Fletch is just starting with this data directory."
    where = ", ".join(f"{name} {address}" for name, address in state.addresses.items())
    return f"Fletch is already running (process {state.pid}): {where}"
