"""Log lines of several parts in one terminal and one file per part."""

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

COLOURS: Mapping[str, str] = {"web": "36", "worker": "33", "serving": "35"}
LARGEST_LOG = 16 * 1024 * 1024


class Terminal(Protocol):
    """Where lines go."""

    def write(self, text: str, /) -> object: ...

    def flush(self) -> object: ...


class Console:
    """Writes each line with its part's name before it; whole lines, whoever speaks."""

    def __init__(self, out: Terminal, *, coloured: bool) -> None:
        self._out = out
        self._coloured = coloured
        self._lock = threading.Lock()

    def __call__(self, part: str, line: str) -> None:
        name = f"{part:>8}"
        if self._coloured:
            name = f"\x1b[{COLOURS.get(part, '32')}m{name}\x1b[0m"
        with self._lock:
            self._out.write(f"{name} | {line}\n")
            self._out.flush()


class LogFolder:
    """Keeps each part's lines in `<part>.log`, and one older file of each."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._lock = threading.Lock()

    def __call__(self, part: str, line: str) -> None:
        path = self._folder / f"{part}.log"
        with self._lock:
            if path.exists() and path.stat().st_size > LARGEST_LOG:
                path.replace(path.with_suffix(".log.1"))
            with path.open("a", encoding="utf-8") as log:
                log.write(line + "\n")
