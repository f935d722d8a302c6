"""Another hub on this machine, as far as one can read through to it: a public repository, and a gated one."""

import contextlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from hub.adapters import gitnames
from hub.blobs.content import names_of

COMMIT = "2" * 40
NAMES = ("org/base", "base")
PAGE = 3


@dataclass
class AnotherHub:
    """`folder` is what `org/base` holds. Its tensors are large files, which lead to another address of it."""

    folder: Path
    address: str = ""
    status: int = 200
    leads_to: str = ""
    asked: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)

    @property
    def paths(self) -> list[str]:
        """What was asked for, without queries."""
        return [f"{method} {urlsplit(path).path}" for method, path, _ in self.asked]

    def entries(self) -> list[dict[str, Any]]:
        return [self.entry(path) for path in sorted(self.folder.iterdir())]

    def entry(self, path: Path) -> dict[str, Any]:
        names = names_of(path)
        said = {"type": "file", "path": path.name, "size": names.size, "oid": names.git_oid}
        if path.suffix != ".safetensors":
            return said
        return {
            **said,
            "xetHash": "f" * 64,
            "lfs": {"oid": names.sha256, "size": names.size, "pointerSize": 134},
        }

    def info(self, name: str) -> dict[str, Any]:
        siblings = [{"rfilename": path.name} for path in sorted(self.folder.iterdir())]
        return {"id": name, "sha": COMMIT, "private": False, "siblings": siblings, "tags": ["elsewhere"]}


@contextlib.contextmanager
def another_hub(folder: Path) -> Iterator[AnotherHub]:
    """On a free port, until the block ends."""
    hub = AnotherHub(folder)
    handler = type("Handler", (Answers,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    hub.address = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


class Answers(BaseHTTPRequestHandler):
    hub: AnotherHub

    def do_GET(self) -> None:
        self.hub.asked.append((self.command, self.path, dict(self.headers)))
        parts = urlsplit(self.path)
        query = parse_qs(parts.query)
        match parts.path.removeprefix("/api/models/"):
            case _ if self.hub.status != 200:
                self.say(self.hub.status, b"{}")
            case path if path in NAMES or path.endswith(("/revision/main", f"/revision/{COMMIT}")):
                self.document(self.hub.info("org/base") if "base" in path else None)
            case path if "/tree/" in path and path.startswith(NAMES):
                self.page(int(query.get("cursor", ["0"])[0]))
            case "org/base/refs":
                branch = {"name": "main", "ref": "refs/heads/main", "targetCommit": COMMIT}
                self.document({"branches": [branch], "tags": [], "converts": []})
            case "org/gated":
                self.say(401, b"{}", **{"X-Error-Code": "GatedRepo"})
            case path if path.startswith(("/org/base/resolve/", "/base/resolve/")):
                self.file(unquote(path.rpartition("/")[2]))
            case path if path.startswith("/bytes/"):
                self.send(self.hub.folder / path.rpartition("/")[2])
            case _:
                self.say(404, b"{}", **{"X-Error-Code": "RepoNotFound"})

    do_HEAD = do_GET  # noqa: N815  the server's name for it

    def page(self, start: int) -> None:
        entries = self.hub.entries()
        following = f"{self.hub.address}{urlsplit(self.path).path}?recursive=true&cursor={start + PAGE}"
        more = {"Link": f'<{following}>; rel="next"'} if start + PAGE < len(entries) else {}
        self.say(200, json.dumps(entries[start : start + PAGE]).encode(), **more)

    def file(self, name: str) -> None:
        path = self.hub.folder / name
        if not path.is_file():
            self.say(404, b"{}", **{"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})
            return
        names = names_of(path)
        if path.suffix != ".safetensors":
            self.send(path, ETag=f'"{names.git_oid}"', **{"X-Repo-Commit": COMMIT})
            return
        large = {"X-Linked-Etag": f'"{names.sha256}"', "X-Linked-Size": str(names.size)}
        self.say(
            302,
            b"",
            Location=self.hub.leads_to or f"/bytes/{name}",
            ETag=f'"{gitnames.blob_oid(b"pointer")}"',
            **{"X-Repo-Commit": COMMIT, "X-Xet-Hash": "f" * 64, **large},
        )

    def send(self, path: Path, **headers: str) -> None:
        content = path.read_bytes()
        wanted = self.headers.get("Range", "").removeprefix("bytes=").partition("-")
        if not wanted[0]:
            self.say(200, content, **headers)
            return
        start = int(wanted[0])
        part = content[start : int(wanted[2]) + 1 if wanted[2] else None]
        place = f"bytes {start}-{start + len(part) - 1}/{len(content)}"
        self.say(206, part, **{**headers, "Content-Range": place})

    def document(self, found: object) -> None:
        if found is None:
            self.say(404, b"{}", **{"X-Error-Code": "RepoNotFound"})
        else:
            self.say(200, json.dumps(found).encode())

    def say(self, status: int, content: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content)), "Set-Cookie": "a=1"}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            with contextlib.suppress(ConnectionError):
                self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""
