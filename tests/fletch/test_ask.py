"""`fletch ask` against a serving process that says what a test wants: terminals, pipes, conversations, failures."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.fletch.running import Shell
from tests.fletch.terminal import END_OF_INPUT, terminal

SPOKE = {"library": "tales", "version": 3, "experts": [{"adapter": "ada/boats", "share": 0.75}]}
STEERING = "Boats\x1b[2J float."


@dataclass
class Script:
    """What the serving process answers, and the bodies that it was sent."""

    url: str = ""
    pieces: Sequence[str] = (STEERING,)
    status: int = 200
    breaks_off: bool = False
    asked: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    def events(self, *, chat: bool) -> Iterator[dict[str, Any]]:
        for piece in self.pieces:
            yield {"choices": [{"delta": {"content": piece}} if chat else {"text": piece}]}
        if self.breaks_off:
            yield {"error": {"message": "the answer broke off"}}
        last: dict[str, Any] = {"delta": {}} if chat else {"text": ""}
        yield {"choices": [{**last, "finish_reason": "stop"}], "fletch": SPOKE}


@pytest.fixture
def script() -> Iterator[Script]:
    script = Script()

    class Serving(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            script.headers.append(dict(self.headers))
            script.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(script.status)
            self.end_headers()
            if script.status != 200:
                self.wfile.write(b'{"error": {"message": "model \'tales\': not served here"}}')
                return
            for event in script.events(chat=self.path.endswith("/chat/completions")):
                self.wfile.write(f"data: {json.dumps(event)}\n\n".encode())
            self.wfile.write(b"data: [DONE]\n\n")

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Serving)
    script.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield script
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_file_gets_the_answer_as_it_is_and_the_request_says_what_was_said(
    stranger: Shell, script: Script
) -> None:
    options = (
        "--router",
        "arrow",
        "--expert",
        "ada/boats",
        "--version",
        "3",
        "--stop",
        "\\n",
        "--alone",
        "base",
    )
    said = stranger.fletch("ask", "tales", "Say", "--serving", script.url, *options, FLETCH_TOKEN="hf_secret")

    assert said.status == 0, said.err
    assert said.out == STEERING + "\n"
    assert said.err == "tales@3: ada/boats 75%\n"
    assert script.asked[0] == {
        "model": "tales/base",
        "prompt": "Say",
        "max_tokens": 256,
        "temperature": 0.0,
        "stop": ["\n"],
        "stream": True,
        "routing": {"version": 3, "router": "arrow", "experts": ["ada/boats"]},
    }
    assert "Authorization" not in script.headers[0]


def test_a_conversation_on_a_terminal_remembers_and_is_not_steered_by_the_model(
    stranger: Shell, script: Script
) -> None:
    with terminal(stranger, "ask", "tales", "--chat", "--serving", script.url) as screen:
        screen.read_until("> ")
        screen.type("What do boats do?\n")
        screen.read_until("ada/boats 75%")
        screen.type("Why?\n")
        shown = screen.read_until("ada/boats 75%", times=2)
        screen.type(END_OF_INPUT)

        assert screen.process.wait(30) == 0

    assert "Boats\\x1b[2J float." in shown
    assert "\x1b[2J" not in shown
    assert [(turn["role"], turn["content"]) for turn in script.asked[1]["messages"]] == [
        ("user", "What do boats do?"),
        ("assistant", STEERING),
        ("user", "Why?"),
    ]


def test_what_goes_wrong_is_said_and_ends_it(stranger: Shell, script: Script) -> None:
    script.breaks_off = True
    broken = stranger.fletch("ask", "tales", "Say", "--serving", script.url, "--json")
    script.status = 404
    unserved = stranger.fletch("ask", "tales", "Say", "--serving", script.url)
    empty = stranger.fletch("ask", "tales", "--serving", script.url)

    assert (broken.status, broken.document["error"]) == (5, "unreachable")
    assert unserved.status == 4
    assert "not served here" in unserved.err
    assert empty.status == 2
    assert "found no prompt" in empty.err
