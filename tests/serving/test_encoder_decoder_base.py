"""A serving process whose base is an encoder-decoder: whatever a client may ask, answered as the model says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch

from routing.classifier import train_classifier
from routing.composed import ComposedModel, compose
from routing.encoding import BaseEncoder
from routing.neutral import neutral_tokens
from routing.retrieval import profile_of
from routing.routes import Routing
from tests.routing.libraries import TEXT, t5_library
from tests.routing.published import POLICY, PublishedLibrary
from tests.serving.live import LiveServer, live_server

SPEAKER = "bob/encoder"
ASKED = {"model": "tales", "prompt": TEXT, "max_tokens": 6, "temperature": 0}


@dataclass(frozen=True)
class Served:
    """A server, and the same experts composed in this process."""

    live: LiveServer
    composed: ComposedModel

    def ask(self, **said: object) -> Any:
        answer = self.live.post("/v1/completions", **{**ASKED, **said})
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Neutral text, two experts with sample prompts and a classifier of them."""
    library = t5_library(tmp_path_factory.mktemp("adapters"))
    published = PublishedLibrary(tmp_path_factory.mktemp("store"), library)
    base, store = library.base(), published.store
    encoder, neutral = BaseEncoder(base), neutral_tokens(base, sequences=16, length=16)
    prompts = {
        SPEAKER: [TEXT, *(f"{TEXT} {number}" for number in range(5))],
        "ada/plain": [f"{number} apples and cheese" for number in range(6)],
    }
    profiles = {name: profile_of(base, encoder, adapter=name, prompts=rows) for name, rows in prompts.items()}
    for name, profile in profiles.items():
        digest, size = store.put_profile(profile)
        published.entries[name] = replace(published.entries[name], profile=digest, profile_size=size)
    head, _ = train_classifier(profiles, encoder.encode(neutral.tolist()), encoder=encoder.name)
    manifest = replace(
        published.manifest(), calibration=store.put_neutral(neutral), classifier=store.put_classifier(head)[0]
    )
    store.write_version("tales", 1, manifest)
    store.set_current("tales", 1)
    with live_server(published.url) as live:
        live.wait_for_version("tales", 1)
        yield Served(live, compose(library.base(), library.experts(), POLICY, neutral=neutral))


def test_a_completion_and_its_likelihoods_are_the_models_own_also_in_a_stream(served: Served) -> None:
    client, composed = served.live.client(), served.composed
    whole = client.completions.create(**ASKED, logprobs=2)
    streamed = client.completions.create(**ASKED, stream=True)

    expected = composed.generate(TEXT, max_tokens=6)
    said = [token.token for token in expected.tokens]
    logits = composed.completion_logits(TEXT, said).log_softmax(-1)
    assert whole.choices[0].text == expected.text
    assert said
    assert "".join(chunk.choices[0].text for chunk in streamed if chunk.choices) == expected.text
    assert torch.tensor(whole.choices[0].logprobs.token_logprobs) == pytest.approx(
        logits[torch.arange(len(said)), torch.tensor(said)], rel=1e-3, abs=1e-3
    )
    assert whole.usage.prompt_tokens == len(composed.tokens(TEXT))


def test_a_chat_is_answered_whole_and_in_a_stream(served: Served) -> None:
    asked = {"model": "tales", "messages": [{"role": "user", "content": TEXT}], "max_tokens": 6}
    client = served.live.client()

    whole = client.chat.completions.create(**asked, temperature=0)
    chunks = client.chat.completions.create(**asked, temperature=0, stream=True)

    text = whole.choices[0].message.content
    assert whole.usage.completion_tokens > 0
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == text
    assert sum(one["share"] for one in whole.fletch["experts"]) == pytest.approx(1, abs=1e-4)


def test_a_trace_tells_what_the_encoder_read_from_what_the_decoder_did(served: Served) -> None:
    trace = served.ask(routing={"trace": True})["fletch"]["trace"]

    assert "".join(trace["encoder_tokens"]) == TEXT
    assert trace["modules"].keys() == served.composed.pack.modules.keys()
    for name, module in trace["modules"].items():
        encoder = name.startswith("encoder.") or name.endswith((".EncDecAttention.k", ".EncDecAttention.v"))
        read = trace["encoder_tokens"] if encoder else trace["tokens"]
        assert len(module["experts"]) == len(module["weights"]) == len(read), name


def test_every_prior_but_the_bases_own_judgement_narrows_a_prompt(served: Served) -> None:
    for prior in ("evidence", "retrieval", "classifier"):
        answer = served.ask(routing={"router": "arrow", "shortlist": 1, "prior": prior, "trace": True})

        ours = answer["fletch"]
        best = ours["prior"]["experts"][0]["adapter"]
        assert (ours["prior"]["name"], len(ours["prior"]["experts"])) == (prior, 4)
        if prior != "evidence":
            assert best == SPEAKER
        alone = Routing("arrow", top_k=2, experts=(best,))
        assert (
            answer["choices"][0]["text"] == served.composed.generate(TEXT, max_tokens=6, routing=alone).text
        )


@pytest.mark.parametrize(
    ("said", "param", "reason"),
    [
        ({"echo": True}, "echo", "reads prompts with an encoder"),
        ({"routing": {"shortlist": 1, "prior": "lm"}}, "routing.prior", "does not continue a text"),
        ({"prompt": [5] * 2049}, "prompt", "of each"),
    ],
)
def test_what_it_cannot_do_is_refused_with_a_reason(
    served: Served, said: dict[str, object], param: str, reason: str
) -> None:
    answer = served.live.post("/v1/completions", **{**ASKED, **said})

    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param
    assert reason in answer.json()["error"]["message"]
