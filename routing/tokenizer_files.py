"""Which files make a tokenizer, and when two of them mean the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from routing.digests import canonical_json, digest_of, digest_of_file

# What decides which text becomes which ids: another one is another tokenizer.
VOCABULARY_FILES = (
    "added_tokens.json",
    "merges.txt",
    "sentencepiece.bpe.model",
    "spiece.model",
    "tokenizer.json",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
)
# How a tokenizer is dressed: defaults and templates. The base's own are always used.
PRESENTATION_FILES = (
    "chat_template.jinja",
    "chat_template.json",
    "special_tokens_map.json",
    "tokenizer_config.json",
)


def tokenizer_file_digests(directory: Path) -> dict[str, str]:
    """The digest of what each tokenizer file in `directory` means, by file name, in name order."""
    names = sorted((*VOCABULARY_FILES, *PRESENTATION_FILES))
    return {name: meaning_digest(directory / name) for name in names if (directory / name).is_file()}


def meaning_digest(path: Path) -> str:
    """Equal for two files that number the same pieces of text alike, however they are spelled.

    tokenizer.json counts by its vocabulary, merges and added tokens: libraries of different age write
    the rest in different ways, and trainers set padding in it. Other JSON counts by content, others by bytes.
    """
    if path.suffix != ".json":
        return digest_of_file(path)
    try:
        content = json.loads(path.read_bytes())
        return digest_of(canonical_json(_numbering(content) if path.name == "tokenizer.json" else content))
    except (
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
    ):  # then its bytes are what it means
        return digest_of_file(path)


def _numbering(tokenizer: Any) -> dict[str, Any]:
    """Which text becomes which ids, from a tokenizer.json."""
    merges = tokenizer["model"].get("merges", [])
    return {
        "vocabulary": tokenizer["model"]["vocab"],
        "merges": [" ".join(pair) if isinstance(pair, list) else pair for pair in merges],
        "added": sorted((token["id"], token["content"]) for token in tokenizer.get("added_tokens", [])),
    }
