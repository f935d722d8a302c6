"""A serving process that answers by a script; tests/serving compares its words with those of a real one."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

EXPERTS = ("ada/chess-openings", "bob/poetry")
WORDS = (("The", 0, 0.62), (" knight", 0, 0.5), (" sings", 1, 0.41), (".", None, 0.0))
MODULES = (
    "model.layers.0.self_attn.q_proj",
    "model.layers.0.mlp.down_proj",
    "model.layers.1.self_attn.q_proj",
)


def chunk(text: str, *, finish: str | None = None, **more: Any) -> dict[str, Any]:
    """One chunk of a completion."""
    return {"choices": [{"index": 0, "text": text, "finish_reason": finish, **more}]}


def spoken(*, by: Sequence[str] = EXPERTS) -> list[dict[str, Any]]:
    """An answer of four tokens, led by two experts and at its end by the base."""
    chunks = []
    for place, (text, leading, share) in enumerate(WORDS):
        new = [by[leading]] if leading is not None and place in {0, 2} else []
        said = {"experts": new, "tokens": [text], "leading": [leading], "shares": [share]}
        said["by_module"] = [{"experts": [leading] * 3, "weights": [90, 60, 30] if new else [55, 20, 10]}]
        chunks.append(chunk(text, fletch=said | ({"modules": list(MODULES)} if place == 0 else {})))
    experts = [{"adapter": name, "share": share} for name, share in zip(by, (0.6, 0.4), strict=True)]
    ours = {"library": "demo", "version": 3, "experts": experts}
    ending = {**chunk("", finish="length"), "fletch": ours}
    return [*chunks, ending, {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 4}}]


def traced(*, by: Sequence[str] = EXPERTS, layers: int) -> list[dict[str, Any]]:
    """A text of two tokens that was read: the first expert has less from layer to layer, the second more."""
    modules = {
        f"model.layers.{layer}.self_attn.q_proj": {
            "experts": [[0, 1]] * 2,
            "weights": [[1 - layer / layers, layer / layers / 2]] * 2,
        }
        for layer in range(layers)
    }
    trace = {"experts": list(by), "tokens": ["Once", " upon"], "modules": modules}
    return [
        {"choices": []},
        {"choices": [], "fletch": {"library": "demo", "version": 3, "trace": trace}},
    ]


@dataclass
class Scripted:
    """What it answers, and what it was asked. `refusal` is a status and an error instead of an answer."""

    url: str = ""
    chunks: list[dict[str, Any]] = field(default_factory=spoken)
    refusal: tuple[int, Mapping[str, str]] | None = None
    whole: bool = True
    asked: list[tuple[str, dict[str, Any], dict[str, str]]] = field(default_factory=list)

    def lines(self) -> Iterator[bytes]:
        for one in self.chunks:
            yield f"data: {json.dumps(one)}\n\n".encode()
        if self.whole:
            yield b"data: [DONE]\n\n"


@contextmanager
def scripted() -> Iterator[Scripted]:
    """It answers on a free port until the block ends."""
    script = Scripted()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._send(200, {"libraries": [{"library": "demo", "version": 3}]})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            script.asked.append((self.path, body, dict(self.headers)))
            if script.refusal is not None:
                status, error = script.refusal
                return self._send(status, {"error": dict(error)})
            self.send_response(200)
            self.end_headers()
            for line in script.lines():
                self.wfile.write(line)
            return None

        def _send(self, status: int, content: object) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(content).encode())

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    script.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield script
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
