"""Likelihoods name tokens by their own bytes, whichever kind of tokenizer made them."""

from __future__ import annotations

from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from routing.sampling import Likelihood
from routing.streaming import Speller, TextToken
from workers.serving.chat_shape import ChatShape
from workers.serving.completion_shape import CompletionShape
from workers.serving.shapes import Writing


def words() -> Any:
    """Of SentencePiece's kind: a mark before each word, and bytes for what has no token."""
    pieces = ["<unk>", "▁Paris", "▁is", "is", "▁", "<0x41>", "A", "<0xE2>", "<0x82>", "<0xAC>"]
    made = Tokenizer(models.Unigram([(piece, -1.0) for piece in pieces], unk_id=0, byte_fallback=True))
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
    return PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>")


def letters() -> Any:
    """Of GPT-2's kind: letters for bytes, and a token of a space with the beginning of a character."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: place for place, letter in enumerate([*alphabet, "Ġâ"])}
    made = Tokenizer(models.BPE(vocabulary, [("Ġ", "â")]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=made)


def written(tokenizer: Any, said: list[str], others: list[str], before: list[str]) -> list[TextToken]:
    """An answer of these tokens, where the same others might have been each time."""
    numbers = tokenizer.convert_tokens_to_ids
    likely = {number: -1.0 - place for place, number in enumerate(numbers(others))}
    speller = Speller(tokenizer, numbers(before))
    tokens = [
        token
        for number in numbers(said)
        for token in speller.push(number, Likelihood(likely.get(number, -9.0), tuple(likely.items())))
    ]
    return tokens + speller.rest()


def completion(tokenizer: Any, tokens: list[TextToken]) -> dict[str, Any]:
    found: dict[str, Any] = CompletionShape().whole(Writing(tokens=tokens), tokenizer)["logprobs"]
    return found


def chat(tokenizer: Any, tokens: list[TextToken]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = ChatShape().whole(Writing(tokens=tokens), tokenizer)["logprobs"]["content"]
    return found


def test_a_word_and_those_that_might_have_been_keep_their_space() -> None:
    tokenizer = words()
    tokens = written(tokenizer, ["▁is", "is"], ["▁Paris", "▁is"], ["▁Paris"])

    assert completion(tokenizer, tokens)["tokens"] == [" is", "is"]
    assert completion(tokenizer, tokens)["top_logprobs"] == [
        {" Paris": -1.0, " is": -2.0},
        {" Paris": -1.0, " is": -2.0, "is": -9.0},
    ]
    assert [entry["token"] for entry in chat(tokenizer, tokens)] == [" is", "is"]
    assert [entry["token"] for entry in chat(tokenizer, tokens)[0]["top_logprobs"]] == [" Paris", " is"]


def test_where_a_text_begins_no_word_has_its_space() -> None:
    tokenizer = words()
    tokens = written(tokenizer, ["▁Paris", "▁is"], ["▁is", "is"], [])

    assert completion(tokenizer, tokens)["tokens"] == ["Paris", " is"]
    assert [entry["token"] for entry in chat(tokenizer, tokens)[0]["top_logprobs"]] == ["is", "is"]
    assert chat(tokenizer, tokens)[0]["bytes"] == list(b"Paris")


def test_of_two_that_are_spelt_alike_neither_is_lost() -> None:
    tokenizer = words()
    twin = tokenizer.convert_tokens_to_ids("<0x41>")

    (drawn,) = completion(tokenizer, written(tokenizer, ["A"], ["<0x41>", "A"], ["▁Paris"]))["top_logprobs"]
    (other,) = completion(tokenizer, written(tokenizer, ["is"], ["A", "<0x41>"], ["▁Paris"]))["top_logprobs"]

    assert drawn == {f"token_id:{twin}": -1.0, "A": -2.0}
    assert other == {"A": -1.0, f"token_id:{twin}": -2.0, "is": -9.0}


@pytest.mark.parametrize(
    ("tokenizer", "said"),
    [(words(), ["<0xE2>", "<0x82>", "<0xAC>"]), (letters(), ["â", "Ĥ", "¬"])],
    ids=["words", "letters"],
)
def test_parts_of_a_character_are_told_by_their_bytes(tokenizer: Any, said: list[str]) -> None:
    tokens = written(tokenizer, said, said[:2], [])

    entries = chat(tokenizer, tokens)
    assert "".join(token.text for token in tokens) == "€"
    assert [bytes(entry["bytes"]) for entry in entries] == [b"\xe2", b"\x82", b"\xac"]
    assert completion(tokenizer, tokens)["tokens"] == [r"bytes:\xe2", r"bytes:\x82", r"bytes:\xac"]
    assert list(completion(tokenizer, tokens)["top_logprobs"][0]) == [r"bytes:\xe2", r"bytes:\x82"]


def test_half_a_character_that_an_answer_ends_in_keeps_its_bytes() -> None:
    tokenizer = letters()

    (entry,) = chat(tokenizer, written(tokenizer, ["Ġâ"], [], []))

    assert (entry["token"], bytes(entry["bytes"])) == (r"bytes: \xe2", b" \xe2")
