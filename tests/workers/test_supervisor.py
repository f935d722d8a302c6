"""The supervisor keeps parts running, says so, and leaves nothing behind."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hub.operations import supervisor as supervision
from hub.operations.parts import next_free_port, port_is_free
from hub.operations.processes import Part
from hub.operations.run_state import AlreadyRunning, read_state, sole_run, write_state
from hub.operations.supervisor import NotReady, Supervisor

SPEAKS_AND_STAYS = "print('hello', flush=True)\nimport time\ntime.sleep(600)"


class Heard:
    """Everything that was said, by whom."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []
        self._lock = threading.Lock()

    def __call__(self, part: str, line: str) -> None:
        with self._lock:
            self.lines.append((part, line))

    def has(self, part: str, words: str) -> bool:
        return any(name == part and words in line for name, line in self.lines)


def part(name: str, code: str, **fields: object) -> Part:
    return Part(name=name, command=(sys.executable, "-c", code), **{"ready": lambda _pid: True, **fields})  # type: ignore[arg-type]


def eventually(fact: Callable[[], bool], seconds: float = 20.0) -> bool:
    last_moment = time.monotonic() + seconds
    while time.monotonic() < last_moment:
        if fact():
            return True
        time.sleep(0.02)
    return False


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return bool(status.stdout.strip()) and not status.stdout.startswith("Z")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Restarts without the wait that a real crash deserves."""
    monkeypatch.setattr(supervision, "FIRST_DELAY", 0.05)


def test_parts_run_and_their_lines_carry_their_names() -> None:
    heard = Heard()

    with Supervisor([part("web", SPEAKS_AND_STAYS), part("worker", SPEAKS_AND_STAYS)], say=heard) as running:
        running.wait_until_ready(20)

        assert eventually(lambda: heard.has("web", "hello") and heard.has("worker", "hello"))
        pids = running.process_ids()

    assert not any(alive(pid) for pid in pids.values())


@pytest.mark.usefixtures("quick")
def test_a_crashed_part_is_started_again_and_said_so() -> None:
    heard = Heard()

    with Supervisor([part("worker", SPEAKS_AND_STAYS)], say=heard) as running:
        running.wait_until_ready(20)
        first = running.process_ids()["worker"]
        os.kill(first, signal.SIGKILL)

        assert eventually(lambda: running.process_ids().get("worker", first) != first)
        assert heard.has("worker", "was ended by SIGKILL; starting it again")


@pytest.mark.usefixtures("quick")
def test_a_part_that_keeps_crashing_is_started_less_and_less_often() -> None:
    heard = Heard()

    with Supervisor([part("web", "raise SystemExit(3)", ready=lambda _pid: False)], say=heard) as running:
        assert eventually(lambda: len([line for _, line in heard.lines if "ended with status 3" in line]) > 3)
        with pytest.raises(NotReady, match="web"):
            running.wait_until_ready(0)
        assert running._seats[0].delay > 4 * 0.05


def test_a_part_that_ignores_the_request_to_stop_is_killed_with_its_children() -> None:
    code = (
        "import signal, subprocess, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print(subprocess.Popen(['sleep', '600']).pid, flush=True)\n"
        "time.sleep(600)"
    )
    heard = Heard()

    with Supervisor([part("serving", code, grace=0.3)], say=heard) as running:
        assert eventually(lambda: any(line.isdigit() for _, line in heard.lines))
        grandchild = next(int(line) for _, line in heard.lines if line.isdigit())
        pid = running.process_ids()["serving"]

    assert not alive(pid)
    assert not alive(grandchild)


def test_nothing_outlives_a_supervisor_that_is_killed() -> None:
    code = (
        "import sys\n"
        "from hub.operations.processes import Part\n"
        "from hub.operations.supervisor import Supervisor\n"
        'nap = \'import subprocess, time; subprocess.Popen(["sleep", "600"]); time.sleep(600)\'\n'
        "sup = Supervisor([Part('web', (sys.executable, '-c', nap), ready=lambda _pid: True)], say=lambda *_: None)\n"
        "sup.start(); sup.wait_until_ready(20); print(sup.process_ids()['web'], flush=True)\n"
        "import time; time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as supervisor:
        assert supervisor.stdout is not None
        web = int(supervisor.stdout.readline())
        supervisor.kill()

    assert eventually(lambda: not alive(web))


def test_secrets_are_withheld_from_a_part_that_must_not_have_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLETCH_SECRET_KEY", "do not tell")
    heard = Heard()
    code = "import os, time; print('key' if 'FLETCH_SECRET_KEY' in os.environ else 'no key', flush=True); time.sleep(600)"

    with Supervisor([part("serving", code, withheld=("FLETCH_SECRET_KEY",))], say=heard):
        assert eventually(lambda: heard.has("serving", "no key"))


def test_a_second_run_on_the_same_data_is_told_where_the_first_one_is(tmp_path: Path) -> None:
    with sole_run(tmp_path):
        write_state(tmp_path, addresses={"web": "http://127.0.0.1:8000"}, parts={"web": 1})

        with (
            pytest.raises(AlreadyRunning, match=r"already running .*http://127\.0\.0\.1:8000"),
            sole_run(tmp_path),
        ):
            pass

    assert read_state(tmp_path) is None
    with sole_run(tmp_path):
        pass


def test_a_taken_port_is_seen_and_another_suggested() -> None:
    code = (
        "import socket, time; s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen();"
        "print(s.getsockname()[1], flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        taken = int(holder.stdout.readline())

        assert not port_is_free("127.0.0.1", taken)
        assert port_is_free("127.0.0.1", next_free_port("127.0.0.1", taken))
        holder.kill()
