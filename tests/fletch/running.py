"""The real command in a process of its own, as a contributor's shell starts it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Ran:
    """How a command ended, and what it said where."""

    status: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """The one JSON document of `--json`."""
        return dict(json.loads(self.out))


@dataclass(frozen=True)
class Shell:
    """A contributor's home, and what is set in their environment."""

    home: Path
    variables: Mapping[str, str] = field(default_factory=dict)

    def fletch(self, *words: object, stdin: str = "", **variables: str) -> Ran:
        """Run `fletch WORDS...` to its end."""
        done = subprocess.run(
            [sys.executable, "-m", "fletch", *map(str, words)],
            env=self.environment(**variables),
            cwd=self.home,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    def environment(self, **variables: str) -> dict[str, str]:
        """Nothing of whoever runs the tests."""
        own = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "PYTHONPATH": str(PROJECT),
            "OMP_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
        }
        return {**own, **self.variables, **variables}
