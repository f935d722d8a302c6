"""A sentence encoder from a folder reads the text of prompts in place of the base."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from routing.base import Base, load_base
from routing.composed import compose
from routing.encoding import BaseEncoder, load_encoder, prompt_tokens
from routing.errors import UnsupportedBase
from routing.neutral import neutral_tokens
from routing.profiles import Profile
from routing.retrieval import profile_of
from routing.spec import BaseRef
from tests.routing.libraries import TEXT, llama_library
from tests.tiny import VOCABULARY, tiny_llama

WIDTH = 24


@pytest.fixture(scope="module")
def base() -> Base:
    return load_base(BaseRef(str(tiny_llama())))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of two layers with random weights, as transformers saves one."""
    place = tmp_path_factory.mktemp("bert")
    config = BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
        initializer_range=0.5,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        BertModel(config).save_pretrained(place)
    PreTrainedTokenizerFast.from_pretrained(tiny_llama()).save_pretrained(place)
    return place


def test_an_embedding_is_the_mean_hidden_state_of_the_text_alone(base: Base, folder: Path) -> None:
    texts = ["gulls and boats", "The ferry leaves at nine."]

    found = load_encoder(folder, base).encode([prompt_tokens(base, text) for text in texts])

    model = BertModel.from_pretrained(folder).eval()
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    for text, embedding in zip(texts, found, strict=True):
        with torch.no_grad():
            hidden = model(torch.tensor([tokenizer(text)["input_ids"]])).last_hidden_state[0]
        torch.testing.assert_close(embedding, hidden.mean(0), atol=1e-5, rtol=1e-4)


def test_a_text_longer_than_the_encoder_reads_is_cut(base: Base, folder: Path) -> None:
    found = load_encoder(folder, base).encode([prompt_tokens(base, TEXT * 9)])

    assert found.shape == (1, WIDTH)


def test_an_encoder_is_named_by_what_is_in_its_folder(base: Base, folder: Path, tmp_path: Path) -> None:
    assert load_encoder(folder, base).name == load_encoder(folder, base).name
    assert load_encoder(folder, base).name != BaseEncoder(base).name
    with pytest.raises(UnsupportedBase, match="not found"):
        load_encoder(tmp_path, base)


def test_experts_are_found_by_the_encoder_that_embedded_their_prompts(
    base: Base, folder: Path, tmp_path: Path
) -> None:
    library, encoder = llama_library(tmp_path), load_encoder(folder, base)
    prompts = {"ada/plain": ["The ferry leaves at nine."], "bob/wide": ["apples and cheese"]}
    profiles: dict[str, Profile] = {
        name: profile_of(base, encoder, adapter=name, prompts=rows) for name, rows in prompts.items()
    }

    model = compose(
        library.base(),
        library.experts(),
        profiles=profiles,
        encoder=encoder,
        neutral=neutral_tokens(base, sequences=16, length=12),
    )

    for name, rows in prompts.items():
        assert model.experts[int(model.prior(rows[0], "retrieval").experts.argmax())] == name
