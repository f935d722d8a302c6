"""`fletch ask` against a serving process that says what a test wants: terminals, pipes, conversations, failures."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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
    spoke: dict[str, Any] = field(default_factory=lambda: SPOKE)
    refuses: dict[str, str] = field(default_factory=dict)  # lists of private experts, and the code of why
    asked: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    passes: Sequence[str] | None = None  # the ones that are good; None where nobody needs one
    context: int = 4096

    def events(self, *, chat: bool) -> Iterator[dict[str, Any]]:
        for piece in self.pieces:
            yield {"choices": [{"delta": {"content": piece}} if chat else {"text": piece}]}
        if self.breaks_off:
            yield {"error": {"message": "the answer broke off"}}
        last: dict[str, Any] = {"delta": {}} if chat else {"text": ""}
        yield {"choices": [{**last, "finish_reason": "stop"}], "fletch": self.spoke}


@pytest.fixture
def script() -> Iterator[Script]:
    script = Script()

    class Serving(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"fletch": {"context": script.context}}).encode())

        def do_POST(self) -> None:
            script.headers.append(dict(self.headers))
            script.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            code = script.refuses.get(self.headers["X-Fletch-Private"])
            if script.passes is not None and self.headers["X-Fletch-Pass"] not in script.passes:
                code = "pass_expired" if self.headers["X-Fletch-Pass"] else "pass_missing"
            self.send_response(401 if code else script.status)
            self.end_headers()
            if code:
                self.wfile.write(json.dumps({"error": {"message": "not good", "code": code}}).encode())
                return
            if script.status != 200:
                self.wfile.write(b'{"error": {"message": "model \'tales\': not served here"}}')
                return
            for event in script.events(chat=self.path.endswith("/chat/completions")):
                self.wfile.write(f"data: {json.dumps(event)}\n\n".encode())
            self.wfile.write(b"data: [DONE]\n\n")

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    with serving(Serving) as url:
        script.url = url
        yield script


@contextmanager
def serving(pages: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """A web server of these pages, by its address, for the length of a block."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), pages)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
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


@pytest.mark.parametrize(("context", "longest"), [(256, 128), (4096, 256)])
def test_an_answer_leaves_room_for_its_prompt(
    stranger: Shell, script: Script, context: int, longest: int
) -> None:
    script.context = context

    said = stranger.fletch("ask", "tales", "Say", "--serving", script.url)

    assert said.status == 0, said.err
    assert script.asked[0]["max_tokens"] == longest


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


@dataclass
class GuestBook:
    """A hub that hands out lists of private experts, and what it was asked."""

    url: str = ""
    experts: Sequence[str] = ()
    status: int = 200
    asked: list[tuple[str, dict[str, Any], str | None]] = field(default_factory=list)

    def answer(self) -> dict[str, Any]:
        if self.status != 200:
            return {"error": "conflict", "detail": "do not know this hub's key yet", "findings": []}
        token = f"list-{len(self.asked)}" if self.experts else None
        return {"token": token, "expires_at": "2030-01-01T00:00:00Z", "experts": list(self.experts)}


@pytest.fixture
def book() -> Iterator[GuestBook]:
    book = GuestBook()

    class Hub(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            book.asked.append((self.path, body, self.headers["Authorization"]))
            self.send_response(book.status)
            self.end_headers()
            self.wfile.write(json.dumps(book.answer()).encode())

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    with serving(Hub) as url:
        book.url = url
        yield book


def test_who_is_signed_in_asks_with_their_private_experts_and_the_token_stays_with_the_hub(
    stranger: Shell, script: Script, book: GuestBook
) -> None:
    book.experts = ["ada/secret", "bob/secret"]
    script.spoke = {**SPOKE, "private": {"experts": book.experts, "digest": "d"}}
    signed_in = {"FLETCH_HUB": book.url, "FLETCH_TOKEN": "hf_secret"}

    said = stranger.fletch("ask", "tales@3", "Say", "--serving", script.url, **signed_in)
    named = stranger.fletch(
        "ask", "tales", "Say", "--serving", script.url, "--private", "ada/secret", "--json", **signed_in
    )

    assert said.err == "tales@3 with 2 private experts: ada/boats 75%\n"
    assert named.document["private"]["experts"] == book.experts
    assert book.asked == [
        ("/api/v1/libraries/tales/private", {}, "Bearer hf_secret"),
        ("/api/v1/libraries/tales/private", {"experts": ["ada/secret"]}, "Bearer hf_secret"),
    ]
    assert [headers["X-Fletch-Private"] for headers in script.headers] == ["list-1", "list-2"]
    assert not [headers for headers in script.headers if "Authorization" in headers]


def test_no_list_is_asked_for_or_sent_where_there_is_nobody_or_nothing_to_add(
    stranger: Shell, script: Script, book: GuestBook
) -> None:
    signed_in = {"FLETCH_HUB": book.url, "FLETCH_TOKEN": "hf_secret"}
    words = ("ask", "tales", "Say", "--serving", script.url)

    ran = [
        stranger.fletch(*words, **signed_in),  # they have none
        stranger.fletch(*words, "--no-private", **signed_in),
        stranger.fletch(*words, "--alone", "base", **signed_in),
        stranger.fletch(*words, FLETCH_HUB=book.url),
        stranger.fletch(*words),
    ]
    both = stranger.fletch(*words, "--no-private", "--private", "ada/secret", **signed_in)
    nowhere = stranger.fletch(*words, "--private", "ada/secret")

    assert [one.status for one in ran] == [0] * 5
    assert len(book.asked) == 1
    assert not [headers for headers in script.headers if "X-Fletch-Private" in headers]
    assert (both.status, nowhere.status) == (2, 2)
    assert "say one of them" in both.err
    assert "no hub is named" in nowhere.err


def test_a_list_that_ended_is_asked_for_again_and_other_refusals_say_how_to_do_without(
    stranger: Shell, script: Script, book: GuestBook
) -> None:
    book.experts = ["ada/secret"]
    script.refuses = {"list-1": "private_expired", "list-3": "private_forged"}
    signed_in = {"FLETCH_HUB": book.url, "FLETCH_TOKEN": "hf_secret"}
    words = ("ask", "tales", "Say", "--serving", script.url)

    again, forged = stranger.fletch(*words, **signed_in), stranger.fletch(*words, **signed_in)
    book.status = 409
    early = stranger.fletch(*words, **signed_in)

    assert again.status == 0, again.err
    assert [headers["X-Fletch-Private"] for headers in script.headers] == ["list-1", "list-2", "list-3"]
    assert (forged.status, early.status) == (3, 6)
    assert "--no-private asks without them" in forged.err
    assert "do not know this hub's key yet" in early.err


def test_a_pass_is_asked_for_when_a_serving_process_wants_one_and_once_more_if_it_is_not_good(
    stranger: Shell, script: Script, book: GuestBook
) -> None:
    signed_in = {"FLETCH_HUB": book.url, "FLETCH_TOKEN": "hf_secret"}
    words = ("ask", "tales@3", "Say", "--no-private", "--serving", script.url)
    book.experts = ["any: the book gives tokens then"]
    script.passes = ["list-1"]

    said = stranger.fletch(*words, **signed_in)
    nobody = stranger.fletch(*words)
    never = stranger.fletch(*words, **signed_in)

    assert said.status == 0, said.err
    assert [headers.get("X-Fletch-Pass") for headers in script.headers] == [
        None,
        "list-1",
        None,
        None,
        "list-2",
    ]
    assert book.asked == [("/api/v1/libraries/tales/pass", {}, "Bearer hf_secret")] * 2
    assert (nobody.status, never.status) == (3, 3)
    assert "`fletch login` signs you in" in nobody.err
    assert not [headers for headers in script.headers if "Authorization" in headers]
