"""Runs a command in a disposable child process: limited, without secrets or input, killed when it is late."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import IO

CONFINE = Path(__file__).with_name("confine.py")
PROJECT = Path(__file__).parents[1]
GIB = 1 << 30
MIB = 1 << 20
ERRORS_KEPT = 4_000
# What a process gets from the kernel when it asks for more than its limits, or trips over what it reads.
LIMIT_SIGNALS = frozenset({signal.SIGXCPU, signal.SIGXFSZ, signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS})


@dataclass(frozen=True)
class Limits:
    """What the child may use. `wall_seconds` also bounds a child that only waits."""

    memory: int = 2 * GIB
    cpu_seconds: int = 60
    wall_seconds: float = 120.0
    file_bytes: int = 64 * MIB


@dataclass(frozen=True)
class Outcome:
    """How the child ended; `status` is negative when a signal ended it."""

    status: int
    output: bytes
    errors: str
    late: bool

    @property
    def hit_a_limit(self) -> bool:
        """Whether what it read, rather than we, is the likely reason of its death."""
        out_of_memory = self.status > 0 and "MemoryError" in self.errors
        return self.late or out_of_memory or -self.status in LIMIT_SIGNALS


def run_confined(arguments: Sequence[str], *, scratch: Path, limits: Limits) -> Outcome:
    """Run `python ARGUMENTS...` under `limits`; its output goes through a file, so it is bounded too."""
    output, errors = scratch / "output", scratch / "errors"
    with (
        output.open("wb") as out,
        errors.open("wb") as err,
        confined(arguments, scratch=scratch, limits=limits, stdout=out, stderr=err) as process,
    ):
        late = _is_late(process, limits.wall_seconds)
    return Outcome(process.returncode, output.read_bytes(), _tail(errors), late)


@contextlib.contextmanager
def confined(
    arguments: Sequence[str],
    *,
    scratch: Path,
    limits: Limits,
    settings: Mapping[str, str] = MappingProxyType({}),
    stdin: int = subprocess.DEVNULL,
    stdout: int | IO[bytes],
    stderr: int | IO[bytes],
) -> Iterator[subprocess.Popen[bytes]]:
    """`python ARGUMENTS...` under `limits`, with nothing of ours in its environment but `settings`; killed
    when the block ends, however it ends.
    """
    own = (str(limits.memory), str(limits.cpu_seconds), str(limits.file_bytes), sys.executable)
    with subprocess.Popen(  # noqa: S603 (our own interpreter; arguments are passed as a list)
        [sys.executable, "-I", "-S", str(CONFINE), *own, *arguments],
        env={**_bare_environment(scratch), **settings},
        cwd=scratch,
        start_new_session=True,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
    ) as process:
        try:
            yield process
        finally:  # also when the waiting is interrupted: the child never outlives the block
            _kill_group(process)


def _is_late(process: subprocess.Popen[bytes], seconds: float) -> bool:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return True
    return False


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _bare_environment(scratch: Path) -> dict[str, str]:
    """Nothing of ours: no keys, no database, no home, no network for libraries that would ask for it."""
    return {
        "PATH": os.defpath,
        "HOME": str(scratch),
        "LANG": "C.UTF-8",
        "PYTHONPATH": str(PROJECT),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
    }


def _tail(path: Path) -> str:
    return path.read_bytes()[-ERRORS_KEPT:].decode(errors="replace").strip()
