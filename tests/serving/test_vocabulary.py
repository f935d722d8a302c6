"""Guides read the vocabulary of every kind of fast tokenizer, or say that they cannot."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from llguidance import LLMatcher
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from routing.base import Base, load_base
from routing.routed import RoutedModel
from tests.tiny import TEXT, tiny_llama, tiny_tokenizer
from workers.serving.errors import ApiError
from workers.serving.followers import Follower
from workers.serving.formats import of_schema
from workers.serving.guides import LIMITS, Guides
from workers.serving.vocabulary import Unguidable, read_vocabulary

OBJECTS = "".join(f'{{"a{place}": [{place}, -2.5, "b"]}} ' for place in range(99))
SPECIAL = ["<unk>", "<s>", "</s>"]


def _wrapped(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )


def byte_fallback() -> PreTrainedTokenizerFast:
    """As Llama 2's."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    trainer = trainers.BpeTrainer(vocab_size=140, special_tokens=SPECIAL, show_progress=False)
    tokenizer.train_from_iterator([TEXT], trainer)
    written = json.loads(tokenizer.to_str())
    words = written["model"]["vocab"]
    words |= {f"<0x{byte:02X}>": len(words) + byte for byte in range(256)}
    return _wrapped(Tokenizer.from_str(json.dumps(written)))


def _metaspace(text: str = OBJECTS) -> PreTrainedTokenizerFast:
    """As T5's, with the characters of JSON."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=180, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator([TEXT, text], trainer)
    return _wrapped(tokenizer)


def _word_pieces() -> PreTrainedTokenizerFast:
    """As BERT's, whose decoder moves spaces about."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(vocab_size=200, special_tokens=SPECIAL, show_progress=False)
    tokenizer.train_from_iterator([TEXT], trainer)
    return _wrapped(tokenizer)


def _base(tokenizer: PreTrainedTokenizerFast) -> Base:
    base = load_base(tiny_llama())
    return replace(base, tokenizer=tokenizer, spec=replace(base.spec, vocabulary=len(tokenizer) + 7))


@pytest.mark.parametrize("make", [tiny_tokenizer, byte_fallback, _metaspace])
def test_a_walk_through_what_is_allowed_is_valid_json(make: Callable[[], PreTrainedTokenizerFast]) -> None:
    base = _base(make())
    schema = {
        "type": "object",
        "properties": {
            "a b": {"type": "string", "maxLength": 5},
            "n": {"type": "array", "items": {"type": "number"}, "maxItems": 2},
        },
        "required": ["a b", "n"],
        "additionalProperties": False,
    }
    end = base.tokenizer.eos_token_id
    matcher = LLMatcher(read_vocabulary(base, [end]), of_schema(schema, "schema").text, limits=LIMITS)
    generator = torch.Generator().manual_seed(5)
    for _ in range(5):
        guide, said = Follower(matcher.deep_copy(), base.spec.vocabulary, [end]), list[int]()
        while not guide.complete and len(said) < 300:
            allowed = guide.allowed()
            assert allowed.shape == (base.spec.vocabulary,)
            token = int(torch.multinomial(allowed.double(), 1, generator=generator))
            if token == end:
                break
            said.append(token)
            guide.hear(token)

        text = base.tokenizer.decode(said, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        found = json.loads(text)
        assert set(found) == {"a b", "n"}
        assert len(found["a b"]) <= 5


def test_a_tokenizer_whose_bytes_nobody_knows_is_named() -> None:
    with pytest.raises(Unguidable, match="decoder"):
        read_vocabulary(_base(_word_pieces()), [2])


def test_a_vocabulary_without_braces_is_told_before_anything_runs() -> None:
    base = _base(_metaspace(TEXT))
    model, grammar = RoutedModel(base), of_schema({"type": "object"}, "response_format")

    with pytest.raises(ApiError, match="no token of this base"):
        Guides().begin(grammar, model, 1)
