"""Which files make a tokenizer, and when two of them mean the same."""

from __future__ import annotations

import json
from pathlib import Path

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
# Trainers set these two for their batches; they change no token of an unpadded text.
BATCHING_FIELDS = ("padding", "truncation")


def tokenizer_file_digests(directory: Path) -> dict[str, str]:
    """The digest of what each tokenizer file in `directory` means, by file name, in name order."""
    names = sorted((*VOCABULARY_FILES, *PRESENTATION_FILES))
    return {name: meaning_digest(directory / name) for name in names if (directory / name).is_file()}


def meaning_digest(path: Path) -> str:
    """Equal for two files that mean the same: JSON by content without batching fields, others by bytes."""
    if path.suffix != ".json":
        return digest_of_file(path)
    try:
        content = json.loads(path.read_bytes())
        if isinstance(content, dict):
            content = {key: value for key, value in content.items() if key not in BATCHING_FIELDS}
        return digest_of(canonical_json(content))
    except (ValueError, RecursionError):  # not JSON after all: then its bytes are what it means
        return digest_of_file(path)
