"""An embedding is the mean of the last hidden states, alone or in a pass with others, as transformers and peft have it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from torch.nn.functional import normalize
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

from routing.base import load_base
from routing.composed import ComposedModel, answer, compose
from routing.embedding import Embedding, embed
from routing.engine import Engine, Step
from routing.generation import Generation, Request
from routing.routed import RoutedModel
from routing.routes import Routing
from routing.sampling import Sampling
from tests.routing.libraries import TEXT, SmallLibrary, llama_library, t5_library
from tests.routing.test_architectures import SHAPES, TOKENS, tiny
from tests.tiny import tiny_model

LONG = tuple(range(2, 252))  # more than a pass reads beside others
SINGLE = Routing("single", top_k=1, experts=("bob/wide",))


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> SmallLibrary:
    return llama_library(tmp_path_factory.mktemp("adapters"))


@pytest.fixture(scope="module")
def composed(library: SmallLibrary) -> ComposedModel:
    return compose(library.base(), library.experts())


def mean_state(model: Any, prompt: tuple[int, ...]) -> torch.Tensor:
    """What transformers makes of a text, one vector of length one."""
    with torch.no_grad():
        answer = model.eval()(input_ids=torch.tensor([prompt]), output_hidden_states=True)
    return normalize(answer.hidden_states[-1][0].mean(dim=0), dim=0)


def assert_equal(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", SHAPES)
def test_the_plain_base_embeds_as_transformers_has_it(kind: str, tmp_path: Path) -> None:
    routed = RoutedModel(load_base(tiny(kind, tmp_path)))
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path)

    found = embed(routed, TOKENS).vector
    assert routed.embedding_width == len(found)
    assert_equal(found, mean_state(theirs, TOKENS))


def test_an_expert_alone_embeds_as_peft_has_it(library: SmallLibrary, composed: ComposedModel) -> None:
    prompt = composed.tokens(TEXT)
    theirs = PeftModel.from_pretrained(tiny_model(library.folder), library.adapters["bob/wide"])

    ours = embed(composed.routed, prompt, route=composed.way(prompt, SINGLE))

    assert_equal(ours.vector, mean_state(theirs, prompt))
    assert ours.shares is not None
    assert ours.shares.by_expert() == {"bob/wide": pytest.approx(1)}


def test_beside_answers_and_others_every_embedding_and_answer_is_what_it_is_alone(
    composed: ComposedModel,
) -> None:
    model, texts = composed.routed, [composed.tokens(TEXT), LONG, LONG[:40], (7,)]
    ways = [None, composed.way(LONG), composed.way(LONG[:40], SINGLE), composed.way((7,))]
    alone = [embed(model, text, route=way).vector for text, way in zip(texts, ways, strict=True)]
    asked = Request(texts[0], 8, route=ways[1], sampling=Sampling(0.0))

    steps: list[list[Step]] = [[] for _ in range(len(texts) + 1)]
    embeddings = [Embedding(model, text, route=way) for text, way in zip(texts, ways, strict=True)]
    works = [Generation(model, asked), *embeddings]
    engine = Engine(running=4)  # so that one waits
    engine.submit([(work, heard.append) for work, heard in zip(works, steps, strict=True)])
    while engine.step():
        pass

    for embedding, expected in zip(embeddings, alone, strict=True):
        assert_equal(embedding.vector, expected)
        assert float(embedding.vector.norm()) == pytest.approx(1)
        assert embedding.memory_bytes == 0
    assert [one[-1].finish for one in steps] == ["length", "stop", "stop", "stop", "stop"]
    assert [step.error for one in steps for step in one if step.error] == []
    said = [token.token for step in steps[0] for token in step.tokens]
    assert said == [token.token for token in answer(model, asked).tokens]


def test_an_encoder_decoder_embeds_by_its_encoder_alone(tmp_path: Path) -> None:
    library = t5_library(tmp_path)
    composed = compose(library.base(), library.experts())
    prompt = composed.tokens(TEXT)
    single = composed.way(prompt, Routing("single", top_k=1, experts=("bob/encoder",)))
    theirs: Any = AutoModelForSeq2SeqLM.from_pretrained(library.folder)
    bobs = PeftModel.from_pretrained(
        AutoModelForSeq2SeqLM.from_pretrained(library.folder), library.adapters["bob/encoder"]
    )

    assert composed.routed.embedding_width == 32
    assert_equal(embed(composed.routed, prompt).vector, mean_state(theirs.get_encoder(), prompt))
    ours = embed(composed.routed, prompt, route=single)
    assert_equal(ours.vector, mean_state(bobs.get_encoder(), prompt))
