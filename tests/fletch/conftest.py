"""A hub's web process on a real socket, without workers, and a contributor who may write to it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from pytest_django.live_server_helper import LiveServer

from hub.accounts import services as accounts
from hub.accounts.models import User
from tests.fletch.running import Shell
from tests.hub import making
from tests.hub.conftest import room

__all__ = ["room"]


@pytest.fixture
def ada(transactional_db: None) -> User:
    return making.user("ada")


@pytest.fixture
def token(ada: User) -> str:
    """Ada's, which may write."""
    _, secret = accounts.issue_token(user=ada, name="laptop", scopes=["write"])
    return secret


@pytest.fixture
def stranger(tmp_path: Path) -> Shell:
    """A shell that knows no hub."""
    home = tmp_path / "home"
    home.mkdir()
    return Shell(home)


@pytest.fixture
def shell(stranger: Shell, live_server: LiveServer, token: str) -> Shell:
    """Ada's, with the hub and her token in the environment."""
    return Shell(stranger.home, {"FLETCH_HUB": live_server.url, "FLETCH_TOKEN": token})


@dataclass
class Elsewhere:
    """A web server that is no hub, the headers that it was sent, and the documents that it has by path."""

    url: str
    heard: list[dict[str, str]]
    documents: dict[str, object] = field(default_factory=dict)


@pytest.fixture
def elsewhere() -> Iterator[Elsewhere]:
    heard: list[dict[str, str]] = []
    documents: dict[str, object] = {}

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            heard.append(dict(self.headers))
            found = documents.get(self.path)
            self.send_response(200)
            self.send_header("Content-Type", "text/html" if found is None else "application/json")
            self.end_headers()
            self.wfile.write(b"<h1>Welcome</h1>" if found is None else json.dumps(found).encode())

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield Elsewhere(f"http://127.0.0.1:{server.server_port}", heard, documents)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
