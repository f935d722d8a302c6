"""The two families of base models, and all that differs between them: what they read, what they continue.

A *causal* base continues the tokens that it reads. An *encoder-decoder* (T5, arXiv 1910.10683) reads a whole
prompt with its encoder, and its decoder writes the completion from a token that begins it. Everything else
in this package asks the base's family and is the same for both. Inputs are keyword arguments of the model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Protocol

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, DynamicCache, EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutput

from routing.spec import FamilyName

IGNORED = -100
Inputs = dict[str, Any]
Tokens = Sequence[int]
Say = Callable[
    [Int[Tensor, "rows given"], int], Int[Tensor, "rows said"]
]  # so many tokens after what is given


@dataclass
class Memory:
    """What a base remembers of one answer: its key-value cache, and what its encoder reads, then has read."""

    cache: Any
    heard: Inputs = field(default_factory=dict)

    def copy(self) -> Memory:
        """Another that may go on otherwise; what an encoder has made is read by both."""
        return Memory(deepcopy(self.cache), dict(self.heard))

    @property
    def size(self) -> int:
        """Bytes of its keys and values. May be asked while another thread writes."""
        caches = [getattr(self.cache, f"{kind}_attention_cache", None) for kind in ("self", "cross")]
        layers = [layer for cache in caches if cache is not None for layer in cache.layers]
        kept = [tuple(vars(layer).values()) for layer in layers or self.cache.layers]
        return sum(part.nbytes for parts in kept for part in parts if isinstance(part, Tensor))


@dataclass(frozen=True)
class Batch:
    """Rows ready for one pass, and for every position of its logits the token to predict or `IGNORED`."""

    inputs: Inputs
    labels: Int[Tensor, "rows positions"]


class Family(Protocol):
    """What differs between bases. Implementations hold nothing."""

    name: FamilyName
    loader: Any

    def read(self, model: Any, prompts: Int[Tensor, "rows length"], mask: Tensor | None = None) -> Inputs:
        """Inputs that read prompts in one pass; the last logits are about what comes first after them."""

    def batch(self, model: Any, rows: Sequence[tuple[Tokens, Tokens]], device: torch.device) -> Batch:
        """Prompts with their completions under teacher forcing, filled up so that nobody is influenced."""

    def memory(self, model: Any, prompts: Int[Tensor, "rows length"], mask: Tensor | None = None) -> Memory:
        """A memory in which nothing is read yet; valid for one route only."""

    def opening(self, model: Any, prompt: Tokens) -> list[int]:
        """The tokens to step through before the first token of an answer is drawn."""

    def step(self, ids: Int[Tensor, "rows tokens"], memory: Memory) -> Inputs:
        """Inputs that continue from a memory, whose cache the pass extends."""

    def keep(self, memory: Memory, answer: Any) -> None:
        """Remember what the encoder made of the prompt, once it has."""

    def reader(self, model: Any) -> Any:
        """The part of the model that makes hidden states of a text, without a head."""

    def hear(self, ids: Int[Tensor, "rows tokens"], memory: Memory) -> Inputs:
        """Inputs of that part by which it goes on to read a prompt."""

    def completion(self, tokenizer: Any, text: str) -> list[int]:
        """The tokens of what should follow a prompt, as they are learnt."""

    def length(self, prompt: Tokens, completion: Tokens | range) -> int:
        """How much of the base's context a prompt and its completion take."""

    def halves(self, text: Tokens) -> tuple[Tokens, Tokens]:
        """A text that is nobody's task as a row: what is given of it, and what is predicted."""

    def converse(self, beginning: Int[Tensor, "rows 1"], length: int, say: Say) -> Int[Tensor, "rows length"]:
        """Neutral text: what the base says when it is asked nothing."""

    def neutral(self, model: Any, text: Int[Tensor, "rows length"]) -> Inputs:
        """Inputs that pass neutral text through every module of the base."""


class Causal:
    """Decoder-only language models: prompt and completion are one sequence."""

    name: FamilyName = "causal"
    loader = AutoModelForCausalLM

    def read(self, _model: Any, prompts: Tensor, mask: Tensor | None = None) -> Inputs:
        return {"input_ids": prompts, "attention_mask": mask, "use_cache": False}

    def batch(self, model: Any, rows: Sequence[tuple[Tokens, Tokens]], device: torch.device) -> Batch:
        """Filled up on the right, where causal attention never looks back from."""
        ids, _mask = filled([[*prompt, *completion] for prompt, completion in rows], device)
        labels = torch.full_like(ids, IGNORED)
        for place, (prompt, completion) in enumerate(rows):
            end = len(prompt) + len(completion)
            labels[place, len(prompt) - 1 : end - 1] = ids[place, len(prompt) : end]
        return Batch(self.read(model, ids), labels)

    def memory(self, model: Any, prompts: Tensor, mask: Tensor | None = None) -> Memory:  # noqa: ARG002
        return Memory(DynamicCache(config=model.config))

    def opening(self, _model: Any, prompt: Tokens) -> list[int]:
        return list(prompt)

    def step(self, ids: Tensor, memory: Memory) -> Inputs:
        return {"input_ids": ids, "past_key_values": memory.cache, "use_cache": True}

    def keep(self, memory: Memory, answer: Any) -> None:
        """The cache is all that there is."""

    def reader(self, model: Any) -> Any:
        return model.base_model

    def hear(self, ids: Tensor, memory: Memory) -> Inputs:
        return self.step(ids, memory)

    def completion(self, tokenizer: Any, text: str) -> list[int]:
        return list(tokenizer(text, add_special_tokens=False, verbose=False).input_ids)

    def length(self, prompt: Tokens, completion: Tokens | range) -> int:
        return len(prompt) + len(completion)

    def halves(self, text: Tokens) -> tuple[Tokens, Tokens]:
        """All but the first token is predicted."""
        return text[:1], text[1:]

    def converse(self, beginning: Tensor, length: int, say: Say) -> Tensor:
        return torch.cat([beginning, say(beginning, length - 1)], dim=1)

    def neutral(self, model: Any, text: Tensor) -> Inputs:
        return self.read(model, text)


class EncoderDecoder:
    """T5 and its kin: the encoder reads the prompt, the decoder writes the completion."""

    name: FamilyName = "encoder-decoder"
    loader = AutoModelForSeq2SeqLM

    def read(self, model: Any, prompts: Tensor, mask: Tensor | None = None) -> Inputs:
        start = torch.full((len(prompts), 1), start_token(model), device=prompts.device)
        return {
            "input_ids": prompts,
            "attention_mask": mask,
            "decoder_input_ids": start,
            "use_cache": False,
        }

    def batch(self, model: Any, rows: Sequence[tuple[Tokens, Tokens]], device: torch.device) -> Batch:
        """Encoders look both ways, so their padding is masked; the decoder's is on the right."""
        ids, mask = filled([prompt for prompt, _ in rows], device)
        completions, said = filled([completion for _, completion in rows], device)
        decoder = completions.roll(1, dims=1)
        decoder[:, 0] = start_token(model)
        inputs = {**self.read(model, ids, mask), "decoder_input_ids": decoder}
        return Batch(inputs, completions.masked_fill(said == 0, IGNORED))

    def memory(self, model: Any, prompts: Tensor, mask: Tensor | None = None) -> Memory:
        caches = (DynamicCache(config=model.config), DynamicCache(config=model.config))
        return Memory(EncoderDecoderCache(*caches), {"input_ids": prompts, "attention_mask": mask})

    def opening(self, model: Any, prompt: Tokens) -> list[int]:  # noqa: ARG002
        return [start_token(model)]

    def step(self, ids: Tensor, memory: Memory) -> Inputs:
        return {
            **memory.heard,
            "decoder_input_ids": ids,
            "past_key_values": memory.cache,
            "use_cache": True,
        }

    def keep(self, memory: Memory, answer: Any) -> None:
        if "input_ids" in memory.heard:
            read = BaseModelOutput(last_hidden_state=answer.encoder_last_hidden_state)
            memory.heard = {"encoder_outputs": read, "attention_mask": memory.heard["attention_mask"]}

    def reader(self, model: Any) -> Any:
        return model.get_encoder()

    def hear(self, ids: Tensor, memory: Memory) -> Inputs:  # noqa: ARG002
        """The whole prompt, which the memory was made for."""
        return memory.heard

    def completion(self, tokenizer: Any, text: str) -> list[int]:
        """With the token that ends a text, if the tokenizer gives targets one: so decoders learn to end."""
        return list(tokenizer(text_target=text, verbose=False).input_ids)

    def length(self, prompt: Tokens, completion: Tokens | range) -> int:
        return max(len(prompt), len(completion))

    def halves(self, text: Tokens) -> tuple[Tokens, Tokens]:
        return text[: len(text) // 2], text[len(text) // 2 :]

    def converse(self, beginning: Tensor, length: int, say: Say) -> Tensor:
        """It is given nothing, answers, is given that answer, and answers again: both are kept."""
        first = say(beginning, length // 2)
        return torch.cat([first, say(first, length - length // 2)], dim=1)

    def neutral(self, model: Any, text: Tensor) -> Inputs:
        """The encoder reads the first half, the decoder writes the second."""
        given, said = text.split([text.shape[1] // 2, text.shape[1] - text.shape[1] // 2], dim=1)
        inputs = self.read(model, given)
        return {**inputs, "decoder_input_ids": torch.cat([inputs["decoder_input_ids"], said[:, :-1]], dim=1)}


FAMILIES: Mapping[FamilyName, Family] = MappingProxyType(
    {"causal": Causal(), "encoder-decoder": EncoderDecoder()}
)


def family_of(config: Any) -> Family:
    """The family of a base with this configuration of transformers."""
    return FAMILIES["encoder-decoder" if getattr(config, "is_encoder_decoder", False) else "causal"]


def start_token(model: Any) -> int:
    """The token from which a decoder begins."""
    named = model.generation_config.decoder_start_token_id
    return int(model.config.decoder_start_token_id if named is None else named)


def filled(rows: Sequence[Tokens], device: torch.device) -> tuple[Int[Tensor, "rows longest"], Tensor]:
    """Rows of tokens filled up with zeros on the right, and a mask that is one where a row is."""
    ids = torch.zeros(len(rows), max(len(row) for row in rows), dtype=torch.int64)
    mask = torch.zeros_like(ids)
    for place, row in enumerate(rows):
        ids[place, : len(row)] = torch.tensor(list(row), dtype=torch.int64)
        mask[place, : len(row)] = 1
    return ids.to(device), mask.to(device)
