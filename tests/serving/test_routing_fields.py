"""What a request may say about its routing, and what the answer says of who spoke."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from routing.composed import ComposedModel
from routing.encoding import BaseEncoder
from routing.index import RoutingPolicy
from routing.neutral import neutral_tokens
from routing.retrieval import profile_of
from routing.routes import Routing
from tests.routing.libraries import TEXT, SmallLibrary
from tests.routing.published import PublishedLibrary
from tests.serving.live import LiveServer, live_server
from workers.serving.options import Limits

ALL = ["ada/plain", "bob/wide", "cy/attention", "di/patterned", "eve/late"]


@pytest.fixture(scope="module")
def narrow(small_library: SmallLibrary, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A server that mixes tokens from two experts at each module."""
    published = PublishedLibrary(tmp_path_factory.mktemp("narrow"), small_library)
    published.publish(1)
    modules = len(small_library.base().spec.target_modules)
    with live_server(published.url, limits=Limits(mixed_experts=2 * modules)) as server:
        server.wait_for_version("tales", 1)
        yield server


def ask(live: LiveServer, routing: dict[str, object] | None = None, *, model: str = "tales") -> Any:
    body = {"model": model, "prompt": TEXT, "max_tokens": 10, "temperature": 0}
    answer = live.post("/v1/completions", **body, **({} if routing is None else {"routing": routing}))
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_an_answer_names_its_library_version_and_manifest_and_who_spoke(live: LiveServer) -> None:
    ours = ask(live)["fletch"]

    served = live.server.libraries["tales"].live
    assert served is not None
    assert (ours["library"], ours["version"], ours["manifest"]) == ("tales", 1, served.manifest)
    shares = [expert["share"] for expert in ours["experts"]]
    assert sum(shares) == pytest.approx(1.0, abs=1e-4)
    assert shares == sorted(shares, reverse=True)


def test_the_openai_client_sends_and_receives_our_fields(live: LiveServer) -> None:
    client = live.client()
    asked = {
        "model": "tales",
        "prompt": TEXT,
        "max_tokens": 4,
        "extra_body": {"routing": {"force": ["bob/wide"]}},
    }

    whole = client.completions.create(**asked)
    last = list(client.completions.create(**asked, stream=True))[-1]

    expected = [{"adapter": "bob/wide", "share": 1.0}]
    assert whole.fletch["experts"] == expected
    assert last.fletch["experts"] == expected


@pytest.mark.parametrize(
    ("routing", "router", "experts"),
    [
        ({"router": "uniform"}, "uniform", None),
        ({"router": "uniform", "experts": ["ada/plain", "eve/late"]}, "uniform", ["ada/plain", "eve/late"]),
        ({"experts": ["ada/plain", "cy/attention"]}, "arrow", ["ada/plain", "cy/attention"]),
        ({"force": ["ada/plain", "cy/attention"]}, "uniform", ["ada/plain", "cy/attention"]),
        ({"router": "single", "experts": ["di/patterned"]}, "single", ["di/patterned"]),
    ],
)
def test_routing_is_done_as_asked(
    live: LiveServer,
    composed: ComposedModel,
    routing: dict[str, object],
    router: str,
    experts: list[str] | None,
) -> None:
    answered = ask(live, routing)

    expected = composed.generate(
        TEXT, max_tokens=10, routing=composed.routing(router=router, experts=experts)
    )
    assert answered["choices"][0]["text"] == expected.text
    assert {one["adapter"] for one in answered["fletch"]["experts"]} == set(experts or composed.experts)


def test_general_knowledge_is_subtracted_as_a_request_says(live: LiveServer, composed: ComposedModel) -> None:
    less = {"general": ["bob/wide"], "subtract": 0.5}

    routed = ask(live, {"router": "arrow", **less})
    forced = ask(live, {"force": ["ada/plain"], **less})

    others = Routing("arrow", composed.policy.top_k, general=("bob/wide",), subtract=0.5)
    alone = Routing("uniform", 1, experts=("ada/plain",), general=("bob/wide",), subtract=0.5)
    assert routed["choices"][0]["text"] == composed.generate(TEXT, max_tokens=10, routing=others).text
    assert "bob/wide" not in {one["adapter"] for one in routed["fletch"]["experts"]}
    assert forced["choices"][0]["text"] == composed.generate(TEXT, max_tokens=10, routing=alone).text


@pytest.mark.parametrize(
    ("routing", "param"),
    [
        ({"general": ["zoe/nobody"], "subtract": 0.5}, "routing.general"),
        ({"subtract": 0.5}, "routing.subtract"),
        ({"force": ["ada/plain"], "subtract": 0.5}, "routing.subtract"),
        ({"general": ["bob/wide"], "subtract": -0.5}, "routing.subtract"),
    ],
)
def test_subtracting_nobody_is_refused(live: LiveServer, routing: dict[str, object], param: str) -> None:
    answer = live.post("/v1/completions", model="tales", prompt=TEXT, routing=routing)

    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param


def test_top_k_and_temperature_change_the_mixture(live: LiveServer) -> None:
    sharp = ask(live, {"top_k": 1})["fletch"]["experts"]
    flat = ask(live, {"top_k": 5, "temperature": 1000.0})["fletch"]["experts"]

    assert len(flat) == 5
    assert max(one["share"] for one in flat) < max(one["share"] for one in sharp)


def test_a_trace_has_a_row_for_each_token_at_each_module(live: LiveServer, composed: ComposedModel) -> None:
    answered = ask(live, {"trace": True})

    trace = answered["fletch"]["trace"]
    assert trace["experts"] == list(composed.experts)
    assert "".join(trace["tokens"]).startswith(TEXT)
    assert trace["modules"].keys() == composed.pack.modules.keys()
    for module in trace["modules"].values():
        assert len(module["experts"]) == len(module["weights"]) == len(trace["tokens"])
        assert all(sum(row) == pytest.approx(1.0, abs=1e-3) for row in module["weights"])


def test_the_plain_base_says_that_no_expert_spoke(live: LiveServer) -> None:
    assert ask(live, model="tales/base")["fletch"]["experts"] == []


def test_without_being_asked_no_trace_is_sent(live: LiveServer) -> None:
    assert "trace" not in ask(live)["fletch"]


@pytest.mark.parametrize("routing", [{"router": "uniform"}, {"top_k": 5}])
def test_a_trace_is_limited_by_what_the_router_selects(
    published: PublishedLibrary, routing: dict[str, object]
) -> None:
    """`top_k` says nothing about `uniform`, which selects every expert."""
    published.publish(1)
    limits = Limits(trace_entries=1_500)
    with live_server(published.url, limits=limits) as live:
        live.wait_for_version("tales", 1)
        body = {"model": "tales", "prompt": TEXT, "max_tokens": 10}
        narrow = live.post("/v1/completions", **body, routing={"trace": True, "top_k": 1})

        wide = live.post("/v1/completions", **body, routing={"trace": True, **routing})

    assert narrow.status_code == 200, narrow.text
    assert wide.status_code == 400
    assert wide.json()["error"]["param"] == "routing.trace"


@pytest.mark.parametrize(
    ("routing", "param", "right"),
    [
        ({"top_k": 1000}, "routing.top_k", "at most 2"),
        ({"top_k": 4, "shortlist": 3, "prior": "lm", "prior_tokens": 0}, "routing.top_k", "at most 2"),
        ({"router": "lm", "top_k": 4, "shortlist": 2}, "routing.top_k", "at most 2"),
        ({"router": "uniform"}, "routing.router", "at most 2 in `experts`"),
        ({"router": "uniform", "experts": ALL[1:]}, "routing.experts", "at most 2"),
        ({"force": ALL[1:]}, "routing.force", "at most 2"),
    ],
)
def test_a_token_is_mixed_from_a_bounded_number_of_experts(
    narrow: LiveServer, routing: dict[str, object], param: str, right: str
) -> None:
    modules = len(narrow.server.libraries["tales"].live.pack.modules)  # type: ignore[union-attr]

    for path, prompt in (("/v1/completions", "prompt"), ("/v1/embeddings", "input")):
        answer = narrow.post(path, model="tales", routing=routing, **{prompt: TEXT})

        error = answer.json()["error"]
        assert (answer.status_code, error["param"]) == (400, param), answer.text
        assert f"at {modules} modules together" in error["message"]
        assert error["message"].endswith(
            f"expected at most {2 * modules}: {error['message'].split(': ')[-1]}"
        )
        assert error["message"].endswith(right)


@pytest.mark.parametrize(
    "routing",
    [
        {},
        {"top_k": 2},
        {"top_k": 1000, "shortlist": 1, "prior": "lm"},
        {"router": "uniform", "shortlist": 1, "prior": "lm"},
        {"force": ["ada/plain"]},
    ],
)
def test_who_asks_for_less_is_answered(narrow: LiveServer, routing: dict[str, object]) -> None:
    answer = narrow.post("/v1/completions", model="tales", prompt=TEXT, max_tokens=1, routing=routing)

    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    ("routing", "param"),
    [
        ({"router": "lm"}, "routing.router"),
        ({"shortlist": 1, "prior": "lm"}, "routing.prior"),
        ({"prior_weight": 1.0, "prior": "lm"}, "routing.prior"),
        ({"shortlist": 1, "prior": "lm", "prior_tokens": 0}, None),
        ({"prior": "lm"}, None),
    ],
)
def test_descriptions_are_read_up_to_a_number_of_tokens(
    live: LiveServer, monkeypatch: pytest.MonkeyPatch, routing: dict[str, object], param: str | None
) -> None:
    version = live.server.libraries["tales"].live
    assert version is not None
    tokens = version.queries.known.continuations.tokens
    options = live.server.options
    body = {"model": "tales", "prompt": TEXT, "max_tokens": 1, "routing": routing}
    few, enough = (replace(options.limits, described_tokens=tokens - less) for less in (1, 0))

    monkeypatch.setattr(live.server, "options", replace(options, limits=few))
    refused = live.post("/v1/completions", **body)
    monkeypatch.setattr(live.server, "options", replace(options, limits=enough))
    answered = live.post("/v1/completions", **body)

    assert answered.status_code == 200, answered.text
    assert refused.status_code == (200 if param is None else 400)
    if param is not None:
        error = refused.json()["error"]
        assert error["param"] == param
        assert f"{len(ALL)} experts, {tokens} tokens" in error["message"]
        assert f"expected at most {tokens - 1}" in error["message"]


def test_a_policy_of_descriptions_is_followed_however_long_they_are(published: PublishedLibrary) -> None:
    manifest = replace(published.manifest(), policy=RoutingPolicy(top_k=1, shortlist=1, prior="lm"))
    published.store.write_version("tales", 1, manifest)
    published.store.set_current("tales", 1)
    with live_server(published.url, limits=Limits(described_tokens=1)) as live:
        live.wait_for_version("tales", 1)

        answer = live.post("/v1/completions", model="tales", prompt=TEXT, max_tokens=1)

    assert answer.status_code == 200, answer.text


def test_what_a_library_does_itself_may_be_asked_for(published: PublishedLibrary) -> None:
    manifest = replace(published.manifest(), policy=RoutingPolicy("uniform", top_k=1))
    published.store.write_version("tales", 1, manifest)
    published.store.set_current("tales", 1)
    with live_server(published.url, limits=Limits(mixed_experts=1)) as live:
        live.wait_for_version("tales", 1)

        own = live.post("/v1/completions", model="tales", prompt=TEXT, max_tokens=1)
        wide = live.post(
            "/v1/completions", model="tales", prompt=TEXT, routing={"router": "arrow", "top_k": 9}
        )
        alone = live.post("/v1/completions", model="tales/ada/plain", prompt=TEXT, max_tokens=1)

    assert (own.status_code, wide.status_code, alone.status_code) == (200, 200, 200), wide.text


def test_a_prior_reads_the_prompt_where_a_request_asks_for_it(
    published: PublishedLibrary, small_library: SmallLibrary
) -> None:
    base = small_library.base()
    profile = profile_of(base, BaseEncoder(base), adapter="bob/wide", prompts=[TEXT])
    digest, size = published.store.put_profile(profile)
    published.entries["bob/wide"] = replace(published.entries["bob/wide"], profile=digest, profile_size=size)
    neutral = published.store.put_neutral(neutral_tokens(base, sequences=16, length=16))
    manifest = replace(published.manifest(), calibration=neutral)
    published.store.write_version("tales", 1, manifest)
    published.store.set_current("tales", 1)
    with live_server(published.url) as live:
        live.wait_for_version("tales", 1)
        alone = ask(live, {"router": "retrieval", "top_k": 1, "trace": True})["fletch"]
        listed = ask(live, {"shortlist": 1, "prior": "retrieval"})["fletch"]
        weighed = ask(live, {"calibrated": True, "prior": "retrieval", "prior_weight": 1000})["fletch"]
        plain = ask(live, {"trace": True})["fletch"]

    assert [one["adapter"] for one in alone["experts"]] == ["bob/wide"]
    assert alone["prior"]["name"] == "retrieval"
    assert alone["prior"]["abstained"] is False
    assert alone["prior"]["experts"][0]["adapter"] == "bob/wide"
    assert sum(one["probability"] for one in alone["prior"]["experts"]) == pytest.approx(1.0, abs=1e-4)
    assert listed["experts"] == alone["experts"]
    assert weighed["experts"][0]["adapter"] == "bob/wide"
    assert "prior" not in plain


def test_a_prior_that_cannot_be_asked_is_refused_by_its_field(live: LiveServer) -> None:
    for routing, param in (
        ({"prior": "horoscope"}, "routing.prior"),
        ({"router": "retrieval"}, "routing.router"),
        ({"prior_weight": 1.0}, "routing.prior_weight"),
    ):
        answer = live.post("/v1/completions", model="tales", prompt=TEXT, routing=routing)
        assert answer.status_code == 400
        assert answer.json()["error"]["param"] == param
