"""A sentence encoder from a folder reads the text of prompts in place of the base."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import BertModel, PreTrainedTokenizerFast

from routing.base import Base, load_base
from routing.checkpoint import Source, load_checkpoint, write_routed
from routing.composed import compose
from routing.encoding import BaseEncoder, encoder_ref, load_encoder, pinned_encoder, prompt_tokens
from routing.errors import UnsupportedEncoder, WrongEncoder
from routing.neutral import neutral_tokens
from routing.profiles import Profile
from routing.retrieval import profile_of
from routing.spec import BaseRef
from tests.routing.libraries import TEXT, llama_library
from tests.routing.published import PublishedLibrary
from tests.tiny import tiny_encoder, tiny_llama


@pytest.fixture(scope="module")
def base() -> Base:
    return load_base(BaseRef(str(tiny_llama())))


@pytest.fixture
def folder() -> Path:
    return tiny_encoder()


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

    assert found.shape == (1, 24)


def test_a_prompt_without_text_is_embedded_too(base: Base, folder: Path) -> None:
    bare, text = [base.tokenizer.bos_token_id], prompt_tokens(base, TEXT)

    alone, together = (load_encoder(folder, base).encode(prompts) for prompts in ([bare], [bare, text]))

    assert torch.equal(alone[0], torch.zeros(24))
    assert torch.equal(together[0], torch.zeros(24))


def test_an_encoder_is_named_by_what_is_in_its_folder(base: Base, folder: Path, tmp_path: Path) -> None:
    assert load_encoder(folder, base).name == load_encoder(folder, base).name
    assert load_encoder(folder, base).name != BaseEncoder(base).name
    with pytest.raises(UnsupportedEncoder, match="not found"):
        load_encoder(tmp_path, base)


def test_another_encoder_in_the_place_of_the_pinned_one_is_refused(base: Base, folder: Path) -> None:
    ref = encoder_ref(BaseRef(str(folder)), base)

    assert pinned_encoder(ref, base).name == ref.name
    with pytest.raises(WrongEncoder, match=f"expected {ref.name}"):
        pinned_encoder(ref, base, at=BaseRef(str(tiny_encoder(seed=1))))


def test_a_causal_model_without_an_encoders_files_is_said_with_its_place(base: Base, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")

    with pytest.raises(UnsupportedEncoder, match=str(tmp_path)):
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


def test_a_checkpoint_takes_its_encoder_home(base: Base, folder: Path, tmp_path: Path) -> None:
    published = PublishedLibrary(tmp_path / "store", llama_library(tmp_path / "adapters"))
    encoder = load_encoder(folder, base)
    profile = profile_of(base, encoder, adapter="bob/wide", prompts=[TEXT])
    digest, size = published.store.put_profile(profile)
    published.entries["bob/wide"] = replace(published.entries["bob/wide"], profile=digest, profile_size=size)
    manifest = replace(
        published.manifest(),
        calibration=published.store.put_neutral(neutral_tokens(base, sequences=8, length=12)),
        encoder=encoder_ref(BaseRef(str(folder)), base),
    )
    read_back = published.store.read_manifest(published.store.put_manifest(manifest))

    write_routed(tmp_path / "home", Source(published.store, read_back, published.spec, published.base))
    model = load_checkpoint(tmp_path / "home")

    assert read_back == manifest
    assert model.encoder is not None
    assert model.encoder.name == encoder.name
    assert model.experts[int(model.prior(TEXT, "retrieval").experts.argmax())] == "bob/wide"
    (tmp_path / "home" / "encoder" / "config.json").write_text(
        (tiny_encoder(seed=1) / "config.json").read_text().replace("24", "48")
    )
    with pytest.raises((UnsupportedEncoder, WrongEncoder)):
        load_checkpoint(tmp_path / "home")
