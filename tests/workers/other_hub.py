"""Another hub, as far as an import sees it: a listing with digests, and files; it may lie."""

import contextlib
import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from hub.blobs.content import names_of


@dataclass
class OtherHub:
    """One repository `ada/poems`; `lies` replaces what is said of a file, `sent` what is sent."""

    address: str = ""
    commit: str = "1" * 40
    files: dict[str, Path] = field(default_factory=dict)
    lies: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    sent: dict[str, bytes] = field(default_factory=dict)
    redirects: dict[str, str] = field(default_factory=dict)
    status: int = 200
    asked: list[tuple[str, Mapping[str, str]]] = field(default_factory=list)

    def hold(self, folder: Path) -> None:
        """The files of a folder."""
        self.files = {path.name: path for path in folder.iterdir()}

    def listing(self) -> dict[str, Any]:
        """What `GET /api/models/ada/poems/revision/main?blobs=true` says."""
        siblings = []
        for path, file in self.files.items():
            names = names_of(file)
            said: dict[str, Any] = {"rfilename": path, "size": names.size, "blobId": names.git_oid}
            if path.endswith(".safetensors"):
                said["lfs"] = {"sha256": names.sha256, "size": names.size, "pointerSize": 134}
            siblings.append({**said, **self.lies.get(path, {})})
        return {"id": "ada/poems", "sha": self.commit, "siblings": siblings, "cardData": {"license": "mit"}}


@contextlib.contextmanager
def other_hub() -> Iterator[OtherHub]:
    """A hub on a free port of this machine, until the block ends."""
    hub = OtherHub()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            hub.asked.append((path, dict(self.headers)))
            name = path.rpartition("/")[2]
            if path == "/api/models/ada/poems/revision/main":
                self.answer(hub.status, json.dumps(hub.listing()).encode())
            elif name in hub.redirects:
                self.send_response(302)
                self.send_header("Location", hub.redirects[name])
                self.end_headers()
            elif path == f"/ada/poems/resolve/{hub.commit}/{name}" and name in hub.files:
                self.answer(200, hub.sent.get(name, hub.files[name].read_bytes()))
            else:
                self.answer(404, b"{}")

        def answer(self, status: int, content: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            with contextlib.suppress(ConnectionError):
                self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    hub.address = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
