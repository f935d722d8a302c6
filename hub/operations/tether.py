"""Nothing outlives its supervisor: a small process ends the process groups of one that was killed.

It hangs on a pipe whose other end only the supervisor holds, so it works wherever there are pipes and process
groups. It is started as a script, without site packages, and imports only the standard library.
"""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path


class Tether:
    """The supervisor's end: says which process groups must not outlive it."""

    def __init__(self) -> None:
        script = str(Path(__file__).resolve())
        self._watcher = subprocess.Popen(  # noqa: S603 (our own interpreter, our own file)
            [sys.executable, "-I", "-S", script],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
            text=True,
        )

    def tie(self, group: int) -> None:
        """From now on this process group ends with us."""
        self._tell(f"+{group}")

    def untie(self, group: int) -> None:
        """The group has ended; its number may belong to a stranger soon."""
        self._tell(f"-{group}")

    def close(self) -> None:
        """Let the watcher go; it ends whatever is still tied."""
        if self._watcher.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._watcher.stdin.close()
        self._watcher.wait()

    def _tell(self, line: str) -> None:
        if self._watcher.stdin is None:
            return
        with contextlib.suppress(BrokenPipeError):  # a killed watcher costs the safety net, not the service
            self._watcher.stdin.write(line + "\n")
            self._watcher.stdin.flush()


def groups_left(lines: Iterable[str]) -> set[int]:
    """The groups that were tied and never untied."""
    groups: set[int] = set()
    for line in lines:
        group = int(line[1:])
        (groups.add if line.startswith("+") else groups.discard)(group)
    return groups


def main() -> None:
    """Wait until the supervisor's end of the pipe is gone, then end what it left behind."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    for group in groups_left(sys.stdin):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    main()
