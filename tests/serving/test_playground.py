"""The playground before a real serving process: the hub reads its stream, and a browser shows who spoke."""

from __future__ import annotations

import json
import shlex
import subprocess
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.core.cache import cache
from playwright.sync_api import Browser, Page, expect
from pytest_django.live_server_helper import LiveServer as LiveHub

from hub.pages.asked import commands
from hub.pages.snippets import Served
from hub.playground import events, serving
from hub.playground.answers import Answer
from hub.playground.questions import Asked, Question, Way
from tests.hub import making
from tests.hub.conftest import room  # noqa: F401  blobs and temporary files of one test, alone
from tests.pages import content
from tests.pages.browser import CHROMIUM
from tests.pages.conftest import browser  # noqa: F401
from tests.pages.visiting import visit
from tests.routing.libraries import TEXT
from tests.serving.live import LiveServer

LENGTH = 12
ARROW = Way(router="arrow", top_k=2)


@pytest.fixture
def reached(live: LiveServer, settings: Any) -> LiveServer:
    cache.clear()
    settings.SERVING_INTERNAL_URL = live.url
    return live


@pytest.mark.parametrize("mode", ["completion", "chat"])
@pytest.mark.parametrize("way", [ARROW, Way("base"), Way("expert", expert="bob/wide")])
def test_an_answer_is_read_as_the_serving_process_says_it(reached: LiveServer, mode: Any, way: Way) -> None:
    asked = Asked("tales", Question(TEXT, mode, max_tokens=LENGTH), way)
    answer = Answer()
    with serving.answered(asked.question.path, asked.traced(), {}) as lines:
        for event in events.read(lines):
            answer.hear(event)

    said = reached.post(asked.question.path, **asked.body()).json()
    choice = said["choices"][0]
    assert answer.text == (choice["message"]["content"] if mode == "chat" else choice["text"])
    assert answer.ended is not None
    assert answer.ended.completion_tokens == said["usage"]["completion_tokens"]
    assert dict(answer.ended.shares) == {one["adapter"]: one["share"] for one in said["fletch"]["experts"]}
    assert all(len(token.modules) == len(answer.modules) for token in answer.tokens)
    assert bool(answer.modules) == (way.who != "base")
    assert set(answer.led()) <= {"bob/wide"} or way is ARROW


@pytest.mark.parametrize("mode", ["completion", "chat"])
def test_what_is_pasted_elsewhere_asks_the_same(reached: LiveServer, mode: Any) -> None:
    asked = Asked("tales", Question(f'{TEXT}\nIt\'s "late".', mode, max_tokens=LENGTH), ARROW)
    said = reached.post(asked.question.path, **asked.body()).json()["choices"][0]
    text = said["message"]["content"] if mode == "chat" else said["text"]

    curl, *programs = commands(Served(reached.url, "tales"), asked.question.path, asked.body(), private=False)

    subprocess.run(["bash", "-n"], input=curl["text"], text=True, check=True)
    sent = shlex.split(curl["text"].replace("\\\n", ""))
    assert json.loads(sent[sent.index("-d") + 1]) == asked.body()
    for program in programs:
        with redirect_stdout(StringIO()) as printed:
            exec(program["text"], {})
        assert printed.getvalue().startswith(text)


def test_whether_a_serving_process_serves_a_library_is_asked_of_itself(reached: LiveServer) -> None:
    assert serving.answers("tales")
    assert not serving.answers("another")


@pytest.mark.browser
@pytest.mark.skipif(not Path(CHROMIUM).exists(), reason=f"no Chromium at {CHROMIUM}")
def test_a_browser_shows_who_spoke_beside_the_plain_base(
    reached: LiveServer,
    live_server: LiveHub,
    browser: Browser,  # noqa: F811
) -> None:
    ada = making.user("ada")
    library = content.found_library("tales")
    content.ready(ada, library, "plain", layers=1)
    making.publish(library)
    watched = visit(browser, live_server, ada)
    settings = f"a-router=arrow&a-top_k=2&compare=on&b-who=base&max_tokens={LENGTH}"

    page = watched.open(f"/libraries/tales/play?{settings}#prompt={quote(TEXT)}")
    page.get_by_role("button", name="Ask", exact=True).click()
    for column in "ab":
        page.wait_for_selector(f"[data-column={column}] [data-facts]:not(:empty)")

    for column, model in (("a", "tales"), ("b", "tales/base")):
        routing = {"routing": {"router": "arrow", "top_k": 2}} if column == "a" else {}
        body = {"model": model, "prompt": TEXT, "max_tokens": LENGTH, "temperature": 0, **routing}
        said = reached.post("/v1/completions", **body).json()["choices"][0]["text"]
        assert said_in(page, column) == said
    page.locator("[data-column=a] [data-tokens]").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("[data-column=a] [data-chosen]")).to_contain_text("of the weight")
    assert page.locator("[data-column=a] .grid tbody td").count() == 14
    assert page.locator("[data-column=b] .grid").count() == 0
    violations = Axe().run(page).response["violations"]
    assert [one["id"] for one in violations if one["impact"] in {"serious", "critical"}] == []
    assert watched.suspicious == []


def said_in(page: Page, column: str) -> str:
    return "".join(page.locator(f"[data-column={column}] .token").all_text_contents())
