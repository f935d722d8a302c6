"""Only who brings a pass of the hub is answered, as far as the pass goes; on loopback anybody is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import openai
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from routing.engine import Engine
from tests.routing.libraries import TEXT
from tests.routing.published import PublishedLibrary
from tests.serving.guest_lists import Hub
from tests.serving.lines import Lines
from tests.serving.live import LiveServer, live_server
from tests.serving.passes import signed_pass
from workers.serving.__main__ import main
from workers.serving.budgets import Budgets, require_answers
from workers.serving.callers import Caller
from workers.serving.counting import Counting
from workers.serving.errors import ApiError
from workers.serving.preparing import Preparing

BODY = {"model": "tales", "prompt": TEXT, "max_tokens": 4, "temperature": 0}


@dataclass(frozen=True)
class Guarded:
    """A server that answers who brings a pass, and the hub whose passes are believed."""

    live: LiveServer
    hub: Hub
    stranger: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)

    def pass_of(self, **said: Any) -> str:
        return signed_pass(self.hub.key, **said)

    def ask(
        self, token: str | None, *, header: str = "X-Fletch-Pass", name: str | None = None, **body: Any
    ) -> httpx.Response:
        said = {header: token, "X-Request-Id": name}
        headers = {header: value for header, value in said.items() if value is not None}
        return httpx.post(f"{self.live.url}/v1/completions", json=BODY | body, headers=headers, timeout=60)

    def ends(self, token: str | None, **body: Any) -> tuple[int, str | None]:
        """The status of an answer, and the code of its error."""
        answer = self.ask(token, **body)
        return answer.status_code, answer.json().get("error", {}).get("code")


@pytest.fixture(scope="module")
def guarded(small_library: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    published = PublishedLibrary(tmp_path_factory.mktemp("guarded"), small_library)
    published.publish(1)
    hub = Hub(published)
    hub.say_key()
    with live_server(published.url, callers="passes") as live:
        live.wait_for_version("tales", 1)
        yield Guarded(live, hub)


def test_who_brings_a_pass_is_answered_and_known_by_it(guarded: Guarded, lines: Lines) -> None:
    answer = guarded.ask(guarded.pass_of(caller="bob"), name=lines.name)
    key = f"Bearer {guarded.pass_of(libraries=None)}"
    as_key = guarded.ask(key, header="Authorization", name=lines.name)
    guarded.live.wait_until(lambda: len(lines()) == 2)

    assert (answer.status_code, as_key.status_code) == (200, 200)
    assert {line["caller"] for line in lines()} == {"bob", "ada"}


def test_openais_client_takes_a_pass_as_its_key(guarded: Guarded) -> None:
    ask, stranger = guarded.live.client(api_key=guarded.pass_of()), guarded.live.client(api_key="sk-none")

    assert ask.completions.create(model="tales", prompt=TEXT, max_tokens=2).choices[0].text
    assert "tales" in {model.id for model in ask.models.list()}
    with pytest.raises(openai.AuthenticationError, match="found no pass with the signature of this hub"):
        stranger.models.list()


@pytest.mark.parametrize(
    ("said", "ends"),
    [
        ({"seconds": -1}, (401, "pass_expired")),
        ({"libraries": ["other"]}, (403, "pass_other_library")),
        ({"libraries": []}, (403, "pass_other_library")),
        ({"format": 2}, (401, "pass_unreadable")),
        ({"kind": "list"}, (401, "pass_unreadable")),
        ({"more": 1}, (401, "pass_unreadable")),
        ({"caller": ""}, (401, "pass_unreadable")),
        ({"answers": 0}, (401, "pass_unreadable")),
    ],
)
def test_a_pass_that_is_not_good_is_refused(guarded: Guarded, said: Any, ends: tuple[int, str]) -> None:
    assert guarded.ends(guarded.pass_of(**said)) == ends


def test_without_a_pass_of_this_hub_nobody_is_let_in_and_no_body_is_read(guarded: Guarded) -> None:
    content, _, signature = guarded.pass_of().partition(".")
    other, _, _ = guarded.pass_of(caller="eve").partition(".")
    list_of_guests = guarded.hub.header("ada/plain")["X-Fletch-Private"]

    for token in (None, ""):
        assert guarded.ends(token) == (401, "pass_missing")
    forged = [signed_pass(guarded.stranger), f"{other}.{signature}", content, "no pass", "x" * 9000]
    for token in forged:
        assert guarded.ends(token) == (401, "pass_forged")
    assert guarded.ends(list_of_guests) == (401, "pass_unreadable")
    unread = guarded.ask(None, prompt=["not even", "a body"], temperature="hot")
    assert unread.status_code == 401
    assert unread.headers["www-authenticate"] == 'Bearer realm="fletch"'
    assert unread.json()["error"]["type"] == "invalid_request_error"
    assert httpx.get(f"{guarded.live.url}/v1/models", timeout=60).status_code == 401
    assert {guarded.live.get(path).status_code for path in ("/healthz", "/readyz", "/metrics")} == {200}


def test_a_pass_is_no_list_of_private_experts(guarded: Guarded) -> None:
    headers = {"X-Fletch-Pass": guarded.pass_of(), "X-Fletch-Private": guarded.pass_of()}
    answer = httpx.post(f"{guarded.live.url}/v1/completions", json=BODY, headers=headers, timeout=60)

    assert answer.json()["error"]["code"] == "private_unreadable"


def test_more_answers_than_a_pass_allows_at_once_are_refused(guarded: Guarded) -> None:
    token = guarded.pass_of(caller="cy", answers=2)

    never = guarded.ask(token, n=3)
    assert (never.status_code, never.json()["error"]["code"]) == (400, "too_many_answers")
    assert "n: found 3 answers, expected at most 2" in never.json()["error"]["message"]
    assert guarded.ends(token, n=2) == (200, None)


def test_what_a_pass_forbids_is_refused_before_anything_is_worked_out(
    guarded: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Preparing, "run", None)

    for said, body, code in (
        ({"answers": 2}, {"n": 3}, "too_many_answers"),
        ({"libraries": ["other"]}, {}, "pass_other_library"),
        ({}, {"n": 17}, "invalid_value"),
    ):
        assert guarded.ends(guarded.pass_of(caller="hal", **said), **body)[1] == code


def test_texts_of_an_embedding_take_the_places_that_a_pass_has_and_its_tokens(
    guarded: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, take = list[int](), Engine.take

    def noted(engine: Engine, works: Any, *, caller: Any = "") -> Any:
        seen.append(len(works))
        return take(engine, works, caller=caller)

    monkeypatch.setattr(Engine, "take", noted)
    client = guarded.live.client(api_key=guarded.pass_of(caller="emma", answers=2, tokens_per_minute=30))

    assert len(client.embeddings.create(model="tales", input=[TEXT] * 5).data) == 5
    assert seen == [2, 2, 1]
    with pytest.raises(openai.RateLimitError, match="has used the 30 tokens"):
        client.embeddings.create(model="tales", input="x")


def test_who_has_used_the_tokens_of_a_minute_is_told_when_to_come_back(guarded: Guarded) -> None:
    token = guarded.pass_of(caller="di", tokens_per_minute=30)
    first = guarded.ask(token, max_tokens=40)
    second = guarded.ask(token)
    used = first.json()["usage"]["total_tokens"]

    assert (first.status_code, second.status_code) == (200, 429)
    assert second.json()["error"]["code"] == "rate_limit_exceeded"
    assert int(second.headers["retry-after"]) == pytest.approx((used - 30) * 2, abs=3)
    assert guarded.ends(guarded.pass_of(caller="eve", tokens_per_minute=30)) == (200, None)


def test_a_stream_is_charged_too(guarded: Guarded) -> None:
    token = guarded.pass_of(caller="streaming", tokens_per_minute=10)
    guarded.ask(token, max_tokens=30, stream=True)
    guarded.live.wait_until(lambda: guarded.ask(token).status_code == 429)


def test_an_answer_is_charged_whether_its_end_is_read_or_not(
    guarded: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        Counting, "_count", lambda _counting: None
    )  # what is done when all was read, or given up
    token = guarded.pass_of(caller="idle", tokens_per_minute=10)
    guarded.ask(token, max_tokens=30)

    assert guarded.ends(token) == (429, "rate_limit_exceeded")


def test_places_are_shared_by_pass_and_not_by_what_a_caller_calls_itself(
    guarded: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    take = Engine.take

    def noted(engine: Engine, works: Any, *, caller: Any = "") -> Any:
        seen.append(caller)
        return take(engine, works, caller=caller)

    monkeypatch.setattr(Engine, "take", noted)
    for user in ("one", "two"):
        guarded.ask(guarded.pass_of(caller="flo"), user=user)

    assert seen[0] == seen[1]
    assert "flo" in seen[0]


def test_who_shares_places_and_conversations_is_known_by_hub_and_name_or_by_address_and_user() -> None:
    callers = [Caller("ada", key=b"one"), Caller("ada", key=b"two"), Caller("eve", key=b"one"), Caller("ada")]
    open_door = [Caller("10.0.0.1 x").identity(None), Caller("10.0.0.1").identity("x")]

    assert len({one.identity(None) for one in callers}) == len(callers)
    assert callers[0].identity("bob") == callers[0].identity(None)
    assert callers[3].identity("bob") != callers[3].identity(None)
    assert open_door[0] != open_door[1]


def test_what_is_kept_of_a_user_is_short_however_long_its_name_is() -> None:
    long, other, odd = [Caller("10.0.0.1").identity("x" * 1_000_000 + end) for end in ("a", "b", "\ud800")]

    assert len({long, other, odd}) == 3
    assert sum(len(part or "") for part in long) < 100
    assert long == Caller("10.0.0.1").identity("x" * 1_000_000 + "a")


def test_what_is_said_under_a_cache_key_is_recalled_for_whoever_said_it_alone(guarded: Guarded) -> None:
    def cached(caller: str) -> int:
        answer = guarded.ask(guarded.pass_of(caller=caller), prompt=TEXT * 3, prompt_cache_key="bot")
        recalled: int = answer.json()["usage"]["prompt_tokens_details"]["cached_tokens"]
        return recalled

    assert [cached("gus"), cached("hal")] == [0, 0]
    assert cached("gus") > 0


def test_a_new_key_of_the_hub_is_believed_and_the_old_one_no_longer(published: PublishedLibrary) -> None:
    published.publish(1)
    before, after = Hub(published), Hub(published)
    with live_server(published.url, callers="passes") as live:
        live.wait_for_version("tales", 1)
        unknown = Guarded(live, before)
        assert unknown.ends(unknown.pass_of()) == (503, "pass_unknown")
        before.say_key()
        live.wait_until(lambda: unknown.ends(unknown.pass_of())[0] == 200)
        after.say_key()
        known = Guarded(live, after)
        live.wait_until(lambda: known.ends(known.pass_of())[0] == 200)

        assert unknown.ends(unknown.pass_of()) == (401, "pass_forged")


def test_an_open_server_asks_for_no_pass_and_minds_no_key(live: LiveServer) -> None:
    answer = httpx.post(
        f"{live.url}/v1/completions", json=BODY, headers={"Authorization": "Bearer anything"}, timeout=60
    )

    assert answer.status_code == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "models.example.org"])
def test_an_address_that_others_reach_needs_a_decision(host: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--store", "store", "--host", host])

    assert "say --callers passes" in capsys.readouterr().err


def test_tokens_flow_in_by_the_minute_and_debts_are_paid_first() -> None:
    now = [0.0]
    budgets, ada = Budgets(lambda: now[0]), Caller("ada", tokens_per_minute=60)
    budgets.require_tokens(ada)
    budgets.charge(ada, 150)  # one answer may be longer than what was left

    with pytest.raises(ApiError) as refused:
        budgets.require_tokens(ada)
    assert refused.value.retry_after == 91
    now[0] = 90.5
    with pytest.raises(ApiError):
        budgets.require_tokens(ada)
    now[0] = 91.0
    budgets.require_tokens(ada)
    now[0] = 10_000.0  # a minute's worth is the most that anybody saves
    budgets.charge(ada, 60)
    with pytest.raises(ApiError):
        budgets.require_tokens(ada)


def test_callers_of_two_hubs_do_not_pay_for_each_other() -> None:
    budgets = Budgets(lambda: 0.0)
    here, there = (Caller("ada", tokens_per_minute=10, key=key) for key in (b"one", b"two"))
    budgets.charge(here, 100)

    budgets.require_tokens(there)
    with pytest.raises(ApiError):
        budgets.require_tokens(here)


def test_without_limits_nothing_is_counted() -> None:
    budgets, anybody = Budgets(), Caller("127.0.0.1")
    budgets.charge(anybody, 10**9)

    budgets.require_tokens(anybody)
    require_answers(anybody, 1000, 1000)
