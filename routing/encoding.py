"""Embeddings of whole prompts: what an encoder makes of a text, as one vector.

The base model itself is an encoder: the mean over a prompt's tokens of the hidden states two thirds of its
layers up. It knows the text that its experts know, and nothing else has to be shipped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import AutoModel, AutoTokenizer

from routing.base import (
    NO_REMOTE_CODE,
    Base,
    config_digest,
    local_folder,
    tokenizer_digest,
    weights_digest,
)
from routing.digests import digest_of
from routing.errors import UnsupportedBase, UnsupportedEncoder, WrongEncoder
from routing.spec import BaseRef, EncoderRef

HEIGHT = 2 / 3  # of the layers: below, words; above, the next token
AT_ONCE = 16
CANARY = "What is it?"
UNLOADABLE = (OSError, ValueError, KeyError, TypeError, RuntimeError, ImportError, AttributeError)
Tokens = Sequence[int]


class Encoder(Protocol):
    """From prompts in the base's tokens to raw embeddings, float32, on the CPU or where the encoder lies."""

    @property
    def name(self) -> str:
        """Equal for encoders that make equal embeddings."""

    def encode(self, prompts: Sequence[Tokens]) -> Float[Tensor, "prompts width"]:
        """One embedding a prompt; a prompt in a batch gets what it gets alone."""


@dataclass(frozen=True)
class BaseEncoder:
    """The base as an encoder of prompts."""

    base: Base

    @property
    def layer(self) -> int:
        """After how many layers the hidden states are read."""
        return max(1, round(HEIGHT * self.base.model.config.get_text_config().num_hidden_layers))

    @property
    def name(self) -> str:
        """The layer; the base itself is pinned by the index version."""
        return f"base:{self.layer}"

    @torch.inference_mode()
    def encode(self, prompts: Sequence[Tokens]) -> Float[Tensor, "prompts width"]:
        """Mean hidden states; of a prompt longer than the context its last tokens."""
        cut = [list(prompt)[-self.base.spec.context :] for prompt in prompts]
        parts = [cut[start : start + AT_ONCE] for start in range(0, len(cut), AT_ONCE)]
        return torch.cat([self._means(part) for part in parts])

    def _means(self, prompts: Sequence[list[int]]) -> Float[Tensor, "prompts width"]:
        ids, mask = padded(prompts, self.base.device)
        answer = _body(self.base.model)(
            input_ids=ids, attention_mask=mask, output_hidden_states=True, **_uncached(self.base.model)
        )
        hidden: Float[Tensor, "prompts length width"] = answer.hidden_states[self.layer].float()
        weights = mask.unsqueeze(-1).float()
        return (hidden * weights).sum(1) / weights.sum(1)


@dataclass(frozen=True)
class SentenceEncoder:
    """A sentence encoder beside any base: the mean of its last hidden states over a text."""

    name: str
    model: Any
    tokenizer: Any
    device: torch.device

    @property
    def longest(self) -> int:
        """Tokens that it reads. Some count positions that no token can have; their tokenizers know better."""
        return int(min(self.model.config.max_position_embeddings, self.tokenizer.model_max_length))

    @torch.inference_mode()
    def embed(self, texts: Sequence[str]) -> Float[Tensor, "texts width"]:
        """Mean hidden states, float32; of a text longer than the encoder reads its beginning."""
        parts = [texts[start : start + AT_ONCE] for start in range(0, len(texts), AT_ONCE)]
        return torch.cat([self._means(part) for part in parts])

    def _means(self, texts: Sequence[str]) -> Float[Tensor, "texts width"]:
        read = self.tokenizer(
            list(texts), return_tensors="pt", padding=True, truncation=True, max_length=self.longest
        )
        return self.means(read["input_ids"].to(self.device), read["attention_mask"].to(self.device))

    @torch.inference_mode()
    def means(self, ids: Tensor, mask: Tensor) -> Float[Tensor, "texts width"]:
        """Mean hidden states of tokens [texts, length], where the mask is 1."""
        if not ids.shape[1]:  # nothing but texts without a token
            return torch.zeros(len(ids), self.model.config.hidden_size, device=self.device)
        hidden = self.model(input_ids=ids, attention_mask=mask).last_hidden_state.float()
        weights = mask.unsqueeze(-1).float()
        return (hidden * weights).sum(1) / weights.sum(1).clamp_min(1)


@dataclass(frozen=True)
class FolderEncoder:
    """A sentence encoder as an encoder of prompts.

    Prompts come in the base's tokens, which `reader`, the base's tokenizer, turns into text again.
    """

    sentences: SentenceEncoder
    reader: Any

    @property
    def name(self) -> str:
        """By what is in its files."""
        return self.sentences.name

    def encode(self, prompts: Sequence[Tokens]) -> Float[Tensor, "prompts width"]:
        """Mean hidden states; of a text longer than the encoder reads its beginning."""
        return self.sentences.embed(
            [self.reader.decode(list(prompt), skip_special_tokens=True) for prompt in prompts]
        )


def load_encoder(source: str | Path | BaseRef, base: Base) -> FolderEncoder:
    """The sentence encoder in a Hugging Face folder or under a hub id, on the base's device.

    UnsupportedEncoder if there is none.
    """
    return FolderEncoder(load_sentence_encoder(source, device=base.device), base.tokenizer)


def load_sentence_encoder(source: str | Path | BaseRef, *, device: torch.device | str) -> SentenceEncoder:
    """The sentence encoder in a Hugging Face folder or under a hub id.

    It is named by what is in its files. Only safetensors are read, and no code that comes with them runs.
    UnsupportedEncoder if there is none.
    """
    ref = source if isinstance(source, BaseRef) else BaseRef(str(source))
    try:
        place = local_folder(ref)
        pinned = [config_digest(place), weights_digest(place), tokenizer_digest(place)]
        model = AutoModel.from_pretrained(place, use_safetensors=True, dtype=torch.float32, **NO_REMOTE_CODE)
        tokenizer = AutoTokenizer.from_pretrained(place, **NO_REMOTE_CODE)
    except (UnsupportedBase, *UNLOADABLE) as error:
        raise UnsupportedEncoder(f"{ref.source}: expected a sentence encoder: {error}") from error
    return SentenceEncoder(
        f"folder:{digest_of(''.join(pinned).encode())}",
        model.to(device).eval().requires_grad_(False),  # noqa: FBT003
        tokenizer,
        torch.device(device),
    )


def pinned_encoder(ref: EncoderRef, base: Base, *, at: BaseRef | None = None) -> FolderEncoder:
    """The encoder that an index version names, from where it says or from `at`; proven on one prompt.

    UnsupportedEncoder if there is none, WrongEncoder if it is another one.
    """
    place = at or BaseRef(ref.source, ref.revision)
    encoder = load_encoder(place, base)
    if encoder.name != ref.name:
        raise WrongEncoder(f"{place.source}: found {encoder.name}, expected {ref.name}")
    if not bool(torch.isfinite(encoder.encode([prompt_tokens(base, CANARY)])).all()):
        raise UnsupportedEncoder(f"{place.source}: found embeddings with NaN or infinity")
    return encoder


def encoder_ref(source: BaseRef, base: Base) -> EncoderRef:
    """What pins the sentence encoder at `source`; of a hub id the commit that was found."""
    encoder = load_encoder(source, base)
    folder = local_folder(source)
    revision = folder.name if folder.parent.name == "snapshots" else source.revision
    return EncoderRef(source.source, revision, encoder.name)


def prompt_tokens(base: Base, text: str) -> list[int]:
    """A text in the base's tokens; an empty one is the token that begins a text."""
    ids: list[int] = base.tokenizer(text, verbose=False)["input_ids"]
    tokenizer = base.tokenizer
    return ids or [tokenizer.bos_token_id or tokenizer.eos_token_id or 0]


def padded(prompts: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Ids and mask [prompts, longest], filled up on the right, where causal attention never looks from."""
    width = max(len(prompt) for prompt in prompts)
    ids = torch.zeros(len(prompts), width, dtype=torch.int64)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, : len(prompt)] = torch.tensor(prompt)
        mask[row, : len(prompt)] = 1
    return ids.to(device), mask.to(device)


def _body(model: Any) -> Any:
    """What reads a prompt: the encoder where there is one."""
    return model.get_encoder() if model.config.is_encoder_decoder else model


def _uncached(model: Any) -> dict[str, bool]:
    return {} if model.config.is_encoder_decoder else {"use_cache": False}
