"""Another hub, as far as a push sees it: it takes what it is sent, and may answer anything."""

import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

COMMIT = "c" * 40
PUT_HERE = "/put/{oid}"


@dataclass(frozen=True)
class Heard:
    """One request."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def has_token(self) -> bool:
        return any(name.lower() == "authorization" for name in self.headers)


@dataclass(frozen=True)
class Answer:
    """One answer."""

    status: int = 200
    body: bytes = b"{}"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class TakingHub:
    """`instead` answers a path in another way; `puts` is where large files are to be sent."""

    address: str = ""
    instead: dict[str, Answer] = field(default_factory=dict)
    puts: str = ""
    verify: str = ""
    mode: str = "lfs"
    heard: list[Heard] = field(default_factory=list)
    taken: set[str] = field(default_factory=set)

    def answer(self, heard: Heard) -> Answer:
        """As huggingface.co would, as far as the client looks."""
        self.heard.append(heard)
        path = heard.path.partition("?")[0]
        if path in self.instead:
            return self.instead[path]
        if path.endswith("/preupload/main"):
            return self._preupload(heard)
        if path.endswith("/info/lfs/objects/batch"):
            return self._batch(heard)
        said = {
            "/api/repos/create": {"url": f"{self.address}/eve/verses"},
            "/api/models/eve/verses": {"id": "eve/verses", "sha": "0" * 40, "private": False, "siblings": []},
            f"/api/models/eve/verses/revision/{COMMIT}": {
                "id": "eve/verses",
                "sha": COMMIT,
                "siblings": [{"rfilename": path} for path in sorted(self.taken)],
            },
            "/api/models/eve/verses/commit/main": {
                "success": True,
                "commitOid": COMMIT,
                "commitUrl": f"{self.address}/eve/verses/commit/{COMMIT}",
            },
        }
        return Answer(body=json.dumps(said.get(path, {})).encode())

    def _preupload(self, heard: Heard) -> Answer:
        paths = [file["path"] for file in json.loads(heard.body)["files"]]
        self.taken |= set(paths)
        modes = {path: self.mode if path.endswith(".safetensors") else "regular" for path in paths}
        files = [{"path": path, "uploadMode": mode, "shouldIgnore": False} for path, mode in modes.items()]
        return Answer(body=json.dumps({"files": files}).encode())

    def _batch(self, heard: Heard) -> Answer:
        objects = []
        for one in json.loads(heard.body)["objects"]:
            actions: dict[str, Any] = {"upload": {"href": (self.puts or self.address) + f"/put/{one['oid']}"}}
            if self.verify:
                actions["verify"] = {"href": self.verify}
            objects.append({**one, "actions": actions})
        return Answer(body=json.dumps({"transfer": "basic", "objects": objects}).encode())

    def sent(self) -> dict[str, bool]:
        """Large files by digest, and whether the bytes were those."""
        return {
            heard.path.rpartition("/")[2]: hashlib.sha256(heard.body).hexdigest()
            == heard.path.rpartition("/")[2]
            for heard in self.heard
            if heard.method == "PUT"
        }


@contextlib.contextmanager
def taking_hub() -> Iterator[TakingHub]:
    """A hub on a free port of this machine, until the block ends."""
    hub = TakingHub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.respond()

        def do_POST(self) -> None:
            self.respond()

        def do_PUT(self) -> None:
            self.respond()

        def respond(self) -> None:
            answer = hub.answer(Heard(self.command, self.path, dict(self.headers), self.content()))
            self.send_response(answer.status)
            for name, value in {**answer.headers, "Content-Length": str(len(answer.body))}.items():
                self.send_header(name, value)
            self.end_headers()
            with contextlib.suppress(ConnectionError):
                self.wfile.write(answer.body)

        def content(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length", "0")))
            pieces = []
            while size := int(self.rfile.readline(), 16):
                pieces.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(pieces)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    hub.address = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
