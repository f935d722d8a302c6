"""A command on a terminal, which a test types into and reads from."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.fletch.running import Shell

PATIENCE = 30.0
END_OF_INPUT = "\x04"


@dataclass
class Terminal:
    """The tester's end of it."""

    process: subprocess.Popen[bytes]
    end: int
    shown: bytearray = field(default_factory=bytearray)

    def read_until(self, text: str, *, times: int = 1) -> str:
        """Everything that was shown so far, once `text` was."""
        last_moment = time.monotonic() + PATIENCE
        while self.shown.count(text.encode()) < times:
            ready, _, _ = select.select([self.end], [], [], max(0.0, last_moment - time.monotonic()))
            assert ready, f"{text!r} did not come: {self.shown!r}"
            self.shown += os.read(self.end, 4096)
        return self.shown.decode(errors="replace")

    def type(self, text: str) -> None:
        os.write(self.end, text.encode())


@contextmanager
def terminal(shell: Shell, *words: object) -> Iterator[Terminal]:
    """`fletch WORDS...` whose input, output and errors are one terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "fletch", *map(str, words)],
        env=shell.environment(TERM="xterm", COLUMNS="120"),
        cwd=shell.home,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    try:
        yield Terminal(process, ours)
    finally:
        process.kill()
        process.wait()
        os.close(ours)
