"""A live hub, and real clients in processes of their own that know nothing of it but HF_ENDPOINT and a token."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pytest_django.live_server_helper import LiveServer

from hub.accounts import services as accounts
from hub.accounts.models import User
from tests.hub import making

ROOT = Path(__file__).parents[3]
CALL = (
    "import importlib, json, sys; "
    "module, function, names = sys.argv[1], sys.argv[2], json.loads(sys.argv[3]); "
    "answer = getattr(importlib.import_module('tests.hub.hf.clients.' + module), function)(**names); "
    "print('\\n' + json.dumps(answer))"
)


@dataclass(frozen=True)
class RealClient:
    """Somebody's machine: an environment, a home folder, and the programs that are installed there."""

    endpoint: str
    token: str
    home: Path
    python: Path = Path(sys.executable)
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """Nothing of this machine's own settings, so that what works here works anywhere."""
        given = {"HF_ENDPOINT": self.endpoint, "HF_HOME": str(self.home), "HOME": str(self.home)}
        if self.token:
            given["HF_TOKEN"] = self.token
        return {"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1", "NO_PROXY": "*", **given, **self.settings}

    def call(self, module: str, function: str, /, **names: object) -> Any:
        """Run one of the functions in `clients` there, and bring back what it answers."""
        command = [str(self.python), "-c", CALL, module, function, json.dumps(names)]
        done = subprocess.run(
            command, cwd=ROOT, env=self.environment, capture_output=True, text=True, check=False, timeout=120
        )
        assert done.returncode == 0, done.stderr[-4000:]
        return json.loads(done.stdout.splitlines()[-1])

    def hf(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The command line, as it is installed."""
        command = [str(self.python.parent / "hf"), *arguments]
        return subprocess.run(
            command,
            cwd=self.home,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )


Clients = Callable[..., RealClient]


@pytest.fixture
def client_of(live_server: LiveServer, tmp_path: Path) -> Clients:
    """A real client of this user, or of nobody."""

    def make(user: User | None, *scopes: str) -> RealClient:
        home = tmp_path / f"home-{user.username if user else 'nobody'}"
        home.mkdir(exist_ok=True)
        token = ""
        if user is not None:
            _, token = accounts.issue_token(user=user, name="laptop", scopes=scopes or ("write",))
        return RealClient(live_server.url, token, home)

    return make


@pytest.fixture
def ada(transactional_db: None) -> User:
    return making.user("ada")


@pytest.fixture
def eve(transactional_db: None) -> User:
    return making.user("eve")
