"""A running server's library in lm-evaluation-harness scores as the same library does in this process."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from evaluation.harness import open_lm
from evaluation.model import ComposedLM
from evaluation.options import BadOptions, load, parse, routing
from evaluation.served import ServedLM
from evaluation.server import BadServer
from fletch.hub import Hub
from routing.index import RoutingPolicy
from routing.neutral import neutral_tokens
from tests.evaluation.asking import (
    evaluated,
    generation_requests,
    likelihood_requests,
    rolling_requests,
)
from tests.routing.libraries import llama_library
from tests.routing.published import PublishedLibrary
from tests.serving.guest_lists import Hub as GuestHub
from tests.serving.live import LiveServer, live_server
from tests.serving.passes import signed_pass
from tests.tiny import CONTEXT, tiny_llama

NARROW = RoutingPolicy(top_k=2, shortlist=1)
FITTING = {"max_length": CONTEXT - 1}  # as long as a server reads
SAID: list[dict[str, object]] = [
    {},
    {"router": "arrow", "top_k": 2, "calibrated": True},
    {"router": "retrieval", "top_k": 1},
    {"base": True},
]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> PublishedLibrary:
    """A library whose prompts choose the one expert that answers."""
    library = llama_library(tmp_path_factory.mktemp("adapters"))
    published = PublishedLibrary(tmp_path_factory.mktemp("store"), library)
    neutral = published.store.put_neutral(neutral_tokens(library.base(), sequences=16, length=16))
    manifest = replace(published.manifest(), policy=NARROW, calibration=neutral)
    published.store.write_version(published.name, 1, manifest)
    published.store.set_current(published.name, 1)
    return published


@pytest.fixture(scope="module")
def live(published: PublishedLibrary) -> Iterator[LiveServer]:
    with live_server(published.url) as server:
        server.wait_for_version(published.name, 1)
        yield server


@pytest.fixture
def guarded(published: PublishedLibrary) -> Iterator[LiveServer]:
    """The same library, for those who bring a pass."""
    with live_server(published.url, callers="passes") as server:
        server.wait_for_version(published.name, 1)
        yield server


def there(live: LiveServer, published: PublishedLibrary, **said: object) -> ServedLM:
    where = {"url": live.url, "library": published.name, "tokenizer": str(tiny_llama()), "batch_size": 4}
    lm = open_lm({**where, **said})
    assert isinstance(lm, ServedLM)
    return lm


def here(published: PublishedLibrary, **said: object) -> ComposedLM:
    options = parse({"store": published.url, "library": published.name, "device": "cpu", **FITTING, **said})
    model = load(options)
    return ComposedLM(model, routing(model, options), **options.harness)


@pytest.mark.parametrize("said", SAID, ids=["policy", "arrow", "retrieval", "base"])
def test_it_scores_and_continues_as_the_library_does_in_this_process(
    live: LiveServer, published: PublishedLibrary, said: dict[str, object]
) -> None:
    server, process = there(live, published, **said), here(published, **said)

    pairs = zip(
        server.loglikelihood(likelihood_requests()), process.loglikelihood(likelihood_requests()), strict=True
    )
    for (theirs, greedy), (ours, our_greedy) in pairs:
        assert theirs == pytest.approx(ours, rel=1e-5, abs=1e-5)
        assert greedy == our_greedy
    rolling = process.loglikelihood_rolling(rolling_requests())
    assert server.loglikelihood_rolling(rolling_requests()) == pytest.approx(rolling, rel=1e-5)
    assert server.generate_until(generation_requests()) == process.generate_until(generation_requests())


def test_a_task_has_the_same_results(live: LiveServer, published: PublishedLibrary) -> None:
    assert evaluated(there(live, published))["results"] == evaluated(here(published))["results"]


def test_what_is_the_likeliest_is_said_so(live: LiveServer, published: PublishedLibrary) -> None:
    lm, model = there(live, published), here(published).composed
    context = "The ferry leaves"
    likeliest = int(model.logits(context)[-1].argmax())

    said = [
        lm._loglikelihood_tokens([((context, ""), list(model.tokens(context)), [token])])[0]
        for token in (likeliest, likeliest - 1)
    ]

    assert [greedy for _likelihood, greedy in said] == [True, False]


def test_the_server_is_told_where_the_context_ends(live: LiveServer, published: PublishedLibrary) -> None:
    """Judged whole, this prompt is another expert's."""
    prompt, ending = "The ferry leaves at", " 345 gulls and 6789 waves; nobody asked why"
    tokenizer = published.library.base().tokenizer
    begun = len(tokenizer(prompt)["input_ids"])
    body = {"model": published.name, "prompt": prompt + ending, "max_tokens": 0, "echo": True, "logprobs": 1}

    told, untold = (
        live.post("/v1/completions", **body, routing={"trace": True, **routing}).json()["fletch"]["prior"]
        for routing in ({"prior_tokens": begun}, {})
    )
    alone = live.post("/v1/completions", **{**body, "prompt": prompt}, routing={"trace": True}).json()[
        "fletch"
    ]["prior"]

    assert told == alone
    assert told != untold


def test_what_does_not_fit_a_server_is_said(
    live: LiveServer, published: PublishedLibrary, tmp_path: Path
) -> None:
    too_many = live.post("/v1/completions", model=published.name, prompt="345", routing={"prior_tokens": 999})
    assert too_many.status_code == 400
    assert too_many.json()["error"]["param"] == "routing.prior_tokens"
    another = shutil.copytree(tiny_llama(), tmp_path / "another")
    (another / "tokenizer.json").write_text((another / "tokenizer.json").read_text().replace("</s>", "</t>"))
    with pytest.raises(BadServer, match=r"tokenizer: found .*, expected"):
        there(live, published, tokenizer=str(another))
    with pytest.raises(BadServer, match=r"poems.*404"):
        there(live, published, library="poems")
    with pytest.raises(BadOptions, match="logits_cache; a server takes"):
        there(live, published, logits_cache=True)
    with pytest.raises(BadOptions, match="expected url, library and tokenizer"):
        open_lm({"url": live.url, "library": "tales"})
    with pytest.raises(BadOptions, match="alone"):
        load(parse({"url": live.url, "library": "tales"}))


def test_a_server_that_wants_a_pass_gets_those_that_the_hub_hands_out(
    published: PublishedLibrary, guarded: LiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    signer, asked = GuestHub(published), list[str]()
    passes = [signed_pass(signer.key, seconds=-1), *(signed_pass(signer.key) for _ in range(2))]

    def post(_hub: Hub, path: str, _body: object) -> dict[str, str]:
        asked.append(path)
        return {"token": passes[len(asked) - 1]}

    signer.say_key()
    guarded.wait_until(lambda: guarded.server.libraries.hub_keys)
    monkeypatch.setattr(Hub, "post", post)
    with pytest.raises(BadServer, match="pass_missing"):
        there(guarded, published)
    with pytest.raises(
        BadServer, match="pass_expired"
    ):  # the first that this hub hands out is good no longer
        there(guarded, published, hub="http://127.0.0.1:9")

    lm = there(guarded, published, hub="http://127.0.0.1:9")
    (scored, _), (expected, _) = (
        one.loglikelihood(likelihood_requests()[:1])[0] for one in (lm, here(published))
    )

    assert scored == pytest.approx(expected, rel=1e-4)
    assert asked == ["/libraries/tales/pass"] * 2
