"""The playground: what it asks for whom, what it shows of the answer, and what it says when there is none."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser
from django.core.cache import cache
from django.http import StreamingHttpResponse
from django.test import Client

from hub.accounts.models import User
from hub.adapters import access
from hub.errors import NotFound, TooBusy
from hub.indexes import passes
from hub.library.models import Library
from hub.playground import asking, places
from hub.playground.questions import Asked, Question, Way
from hub.signing import public_key
from tests.hub import making
from tests.hub.signed import statement
from tests.pages import content
from tests.pages.conftest import seen_by
from tests.pages.scripted import EXPERTS, Scripted, scripted

PAGE, STREAM = "/libraries/demo/play", "/libraries/demo/play/a"
NO_ONE = "http://127.0.0.1:9"  # the port that discards


@pytest.fixture
def library(db: None) -> Library:
    """One that serves version 1."""
    library, ada = content.found_library(), making.user("ada")
    content.ready(ada, library, "chess-openings", layers=1)
    making.publish(library)
    library.refresh_from_db()
    return library


@pytest.fixture
def serving(settings: Any) -> Iterator[Scripted]:
    cache.clear()
    with scripted() as script:
        settings.SERVING_INTERNAL_URL = script.url
        yield script


@pytest.fixture
def nobody_serves(settings: Any) -> None:
    cache.clear()
    settings.SERVING_INTERNAL_URL = NO_ONE


def events(response: Any) -> list[dict[str, Any]]:
    """The lines of a stream."""
    assert isinstance(response, StreamingHttpResponse), response.content
    return [json.loads(line) for line in b"".join(response).splitlines()]


def text_of(response: Any) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", response.content.decode()).split())


def ask(client: Client, path: str = STREAM, **fields: object) -> Any:
    return client.post(path, {"prompt": "Sing!", **fields}, headers={"Accept": "application/json"})


def test_a_stream_names_each_token_s_expert_and_ends_with_the_shares(
    library: Library, serving: Scripted
) -> None:
    found = events(ask(seen_by(None)))

    assert [event["kind"] for event in found] == ["asked", "modules", *["heard"] * 4, "ended"]
    assert found[1]["places"] == [[0, "self_attn.q_proj"], [0, "mlp.down_proj"], [1, "self_attn.q_proj"]]
    tokens = [token for event in found[2:-1] for token in event["tokens"]]
    assert "".join(token["text"] for token in tokens) == "The knight sings."
    assert [token["expert"] for token in tokens] == [0, 0, 1, None]
    assert found[-1]["shares"] == [[EXPERTS[0], 0.6], [EXPERTS[1], 0.4]]


def test_what_is_left_open_is_left_to_the_policy_and_what_is_said_is_asked_for(
    library: Library, serving: Scripted
) -> None:
    client = seen_by(None)
    events(ask(client))
    events(ask(client, **{"a-router": "arrow", "a-top_k": "2", "a-experts": "a/b, c/d", "a-version": "1"}))
    events(ask(client, **{"a-who": "base", "a-router": "arrow", "temperature": "0.5", "seed": "7"}))
    events(ask(client, **{"a-who": "expert", "a-expert": "ada/chess-openings"}))

    paths, bodies = zip(*((path, body) for path, body, _ in serving.asked), strict=True)
    assert set(paths) == {"/v1/completions"}
    assert [body["model"] for body in bodies] == ["demo", "demo", "demo/base", "demo/ada/chess-openings"]
    assert bodies[0]["routing"] == {"trace": "modules"}
    assert bodies[1]["routing"] == {
        "version": 1,
        "router": "arrow",
        "top_k": 2,
        "experts": ["a/b", "c/d"],
        "trace": "modules",
    }
    assert "routing" not in bodies[2]
    assert (bodies[2]["temperature"], bodies[2]["seed"]) == (0.5, 7)


def test_ends_of_lines_arrive_as_they_were_typed(library: Library, serving: Scripted) -> None:
    events(ask(seen_by(None), prompt="one\r\ntwo\r\n"))

    assert serving.asked[0][1]["prompt"] == "one\ntwo\n"


def test_a_chat_goes_on_from_its_turns(library: Library, serving: Scripted) -> None:
    turns = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Good day."}]

    page = ask(seen_by(None), PAGE, mode="chat", system="Be brief.", **{"a-turns": json.dumps(turns)})

    path, body, _ = serving.asked[0]
    assert path == "/v1/chat/completions"
    newest = {"role": "user", "content": "Sing!"}
    assert body["messages"] == [{"role": "system", "content": "Be brief."}, *turns, newest]
    kept = json.loads(page.context["columns"][0]["kept"])
    assert kept == [*turns, newest, {"role": "assistant", "content": "The knight sings."}]


def test_without_a_script_the_form_answers_with_a_page_of_both_columns(
    library: Library, serving: Scripted
) -> None:
    page = ask(seen_by(None), PAGE, compare="on", **{"a-router": "arrow", "b-who": "base"})

    html, words = page.content.decode(), text_of(page)
    assert [body["model"] for _, body, _ in serving.asked] == ["demo", "demo/base"]
    assert '<span class="token c1" data-n="1" title="ada/chess-openings, 62%">The</span>' in html
    assert '<span class="token c2" data-n="2" title="bob/poetry, 41%"> sings</span>' in html
    assert "led 2 of 4 tokens; 60% of all weight, prompt included" in words
    assert "cut at the longest that was allowed" in words
    assert '<td class="c1 w3" title="ada/chess-openings, 36%">' not in html  # bob has more there
    assert html.count('class="grid"') == 2
    assert "curl http://127.0.0.1:8081/v1/completions" in words


def test_who_asks_is_told_apart_and_their_limits_are_theirs(
    library: Library, serving: Scripted, settings: Any
) -> None:
    Library.objects.update(guest_key=public_key().hex())
    settings.SERVING_CALLERS, settings.PLAYGROUND = "passes", "everybody"
    ada = User.objects.get(username="ada")
    events(ask(seen_by(ada)))
    events(ask(seen_by(None)))

    said = [statement(headers["X-Fletch-Pass"]) for _, _, headers in serving.asked]
    assert [one["caller"] for one in said] == ["ada", passes.VISITORS]
    assert all(one["libraries"] == ["demo"] for one in said)


def test_private_experts_come_along_for_whom_they_are_and_for_nobody_else(
    library: Library, serving: Scripted
) -> None:
    Library.objects.update(guest_key=public_key().hex())
    ada, bob = User.objects.get(username="ada"), making.user("bob")
    secret = making.upload(ada, library, "secret", private=True)
    making.accept(secret)
    for visitor in (ada, bob, None):
        events(ask(seen_by(visitor), private="on"))
    access.invite(adapter=secret.adapter, user=bob)
    events(ask(seen_by(bob), private="on"))
    events(ask(seen_by(ada)))
    events(ask(seen_by(ada), private="on", **{"a-who": "base"}))

    brought = ["X-Fletch-Private" in headers for _, _, headers in serving.asked]
    assert brought == [True, False, False, True, False, False]
    assert "With my private experts" not in text_of(seen_by(None).get(PAGE))
    assert "secret" not in seen_by(making.user("eve")).get(PAGE).content.decode()


@pytest.mark.parametrize(
    ("refusal", "status", "words"),
    [
        ((429, {"message": "full", "code": "queue_full"}), 429, "As many questions wait as may wait."),
        ((400, {"message": "prompt: found 9", "code": "context_length_exceeded"}), 400, "prompt: found 9"),
        ((404, {"message": "not served here", "code": "model_not_found"}), 404, "not served here"),
        ((503, {"message": "not ready", "code": "model_not_ready"}), 503, "not ready"),
    ],
)
def test_a_refusal_is_said_in_words(
    library: Library, serving: Scripted, refusal: tuple[int, dict[str, str]], status: int, words: str
) -> None:
    serving.refusal = refusal

    stream, page = ask(seen_by(None)), ask(seen_by(None), PAGE)

    assert stream.status_code == status
    assert words in stream.json()["detail"]
    assert (page.status_code, words in text_of(page)) == (200, True)


def test_what_came_before_an_answer_broke_off_stays(library: Library, serving: Scripted) -> None:
    serving.chunks, serving.whole = serving.chunks[:2], False
    cut = events(ask(seen_by(None)))
    serving.chunks = [*serving.chunks, {"error": {"message": "out of memory"}}]
    failed = events(ask(seen_by(None)))

    assert [event["kind"] for event in cut] == ["asked", "modules", "heard", "heard", "trouble"]
    assert "went away in the middle" in cut[-1]["words"]
    assert "out of memory" in failed[-1]["words"]
    assert "The knight" in ask(seen_by(None), PAGE).content.decode().replace("</span>", "").replace(
        '<span class="token c1" title="ada/chess-openings, 50%">', ""
    )


def test_where_no_serving_process_answers_the_page_says_how_one_is_started(
    library: Library, nobody_serves: None
) -> None:
    page, asked = seen_by(None).get(PAGE), ask(seen_by(None))

    assert "No serving process answers for this library" in text_of(page)
    assert "python -m workers.serving --store" in text_of(page)
    assert (asked.status_code, asked.json()["detail"]) == (503, "No serving process answers at the moment.")
    assert NO_ONE not in text_of(page)


def test_a_library_without_a_version_has_nobody_to_ask(db: None) -> None:
    content.found_library()

    assert "Nobody to ask yet" in text_of(seen_by(None).get(PAGE))


@pytest.mark.parametrize(
    ("allowed", "anybody", "ada"), [("everybody", 200, 200), ("people", 401, 200), ("off", 403, 403)]
)
def test_the_operator_says_who_may_ask(
    library: Library, serving: Scripted, settings: Any, allowed: str, anybody: int, ada: int
) -> None:
    settings.PLAYGROUND = allowed

    for visitor, expected in ((None, anybody), (User.objects.get(username="ada"), ada)):
        assert ask(seen_by(visitor)).status_code == expected
        assert ask(seen_by(visitor), PAGE).status_code == expected
    assert seen_by(None).get(PAGE).status_code == 200


def test_answers_hold_a_bounded_number_of_threads_and_let_go_of_them_read_or_not(
    library: Library, serving: Scripted
) -> None:
    def begin(address: str = "192.0.2.1") -> asking.Answering:
        asked = Asked("demo", Question("Sing!"), Way())
        return asking.begin(asked, library=library, visitor=AnonymousUser(), address=address)

    under_way = [begin() for _ in range(places.MOST_EACH)]
    with pytest.raises(TooBusy, match="wait for one, or stop it"):
        begin()
    under_way += [begin(f"192.0.2.{number}") for number in range(2, places.MOST)]
    with pytest.raises(TooBusy, match="Many people ask"):
        begin("192.0.2.100")
    for answering in under_way:
        answering.close()
    serving.refusal = (404, {"message": "not served here", "code": "model_not_found"})
    with pytest.raises(NotFound):
        begin()

    assert not places._taken


def test_an_address_fills_the_form_and_asks_nothing(library: Library, serving: Scripted) -> None:
    page = seen_by(None).get(f"{PAGE}?mode=chat&compare=on&a-router=spectral&b-who=base&max_tokens=40")

    html = page.content.decode()
    assert not serving.asked
    for chosen in ('value="spectral" selected', 'value="base" selected', 'value="40"'):
        assert chosen in html
    assert re.search(r'name="compare"[^>]*checked', html)


def test_what_was_typed_wrongly_is_said_beside_its_field(library: Library, serving: Scripted) -> None:
    fields = {"temperature": "9", "a-who": "expert", "a-turns": "{"}

    page, stream = ask(seen_by(None), PAGE, **fields), ask(seen_by(None), **fields)

    assert (page.status_code, stream.status_code) == (400, 400)
    for words in ("less than or equal to 2", "Say which one, as owner/name", "begin a new one"):
        assert words in text_of(page) + stream.json()["detail"]
    assert not serving.asked


def test_the_first_page_asks_right_away_whoever_may(
    library: Library, serving: Scripted, settings: Any
) -> None:
    content.found_library("bare")
    settings.PLAYGROUND = "people"

    anybody, ada = (
        seen_by(who).get("/").content.decode() for who in (None, User.objects.get(username="ada"))
    )

    assert f'formaction="{PAGE}"' in ada
    assert "/libraries/bare/play" not in ada
    assert PAGE not in anybody
