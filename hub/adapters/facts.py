"""What a tree of files says of itself: its card and configuration, which files are the adapter, and the words
by which it is found.

Read at the door from two small files; whether any of it is true is for the workers to examine.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from hub.adapters.cards import LARGEST_CARD, README, Card, read_card
from hub.blobs import services as blobs
from hub.blobs.models import Blob
from hub.library.models import FOLDER_LIKE, Library

CONFIG = "adapter_config.json"
TENSORS = "adapter_model."
GATES = ("fletch_gates.safetensors", "fletch_gates.json")
SAID = ("base_model_name_or_path", "peft_type", "task_type")
LARGEST_CONFIG = 64 * 1024
LONGEST_WORD = 200
MOST_TAGS = 60
CARD_TAGS = {
    "pipeline_tag": "",
    "tags": "",
    "language": "",
    "license": "license:",
    "datasets": "dataset:",
}


def adapter_part(tree: Mapping[str, Blob]) -> dict[str, str]:
    """The files that make an adapter, path to sha256; empty where the tree holds none."""
    part = {
        path: blob.sha256
        for path, blob in tree.items()
        if path == CONFIG or path in GATES or ("/" not in path and path.startswith(TENSORS))
    }
    is_whole = CONFIG in part and any(path.startswith(TENSORS) for path in part)
    return part if is_whole else {}


def card_in(tree: Mapping[str, Blob]) -> dict[str, Any]:
    """The front matter of the README."""
    return read_readme(tree).front_matter


def read_readme(tree: Mapping[str, Blob]) -> Card:
    """The README; an empty card where there is none."""
    readme = next((blob for path, blob in tree.items() if path.lower() == README), None)
    return Card("") if readme is None else read_card(_beginning(readme, LARGEST_CARD))


def config_in(tree: Mapping[str, Blob]) -> dict[str, str]:
    """The few words of adapter_config.json that are shown and searched; nothing where it cannot be read."""
    blob = tree.get(CONFIG)
    if blob is None or blob.size > LARGEST_CONFIG:
        return {}
    try:
        parsed = json.loads(_beginning(blob, LARGEST_CONFIG))
    except (ValueError, RecursionError):
        return {}
    said = parsed if isinstance(parsed, dict) else {}
    return {name: word for name in SAID for word in _words(said.get(name))}


def named_bases(card: Mapping[str, Any], config: Mapping[str, str]) -> list[str]:
    """The base models that the files name, the configuration's first."""
    return list(
        dict.fromkeys([*_words(config.get("base_model_name_or_path")), *_words(card.get("base_model"))])
    )


def tags_of(card: Mapping[str, Any], config: Mapping[str, str], library: Library | None) -> list[str]:
    """The words by which an adapter is found. Folders on somebody's machine are not among them."""
    return list(dict.fromkeys(_tags(card, config, library)))[:MOST_TAGS]


def _tags(card: Mapping[str, Any], config: Mapping[str, str], library: Library | None) -> Iterator[str]:
    if config:
        yield "peft"
    yield from (word.lower() for word in _words(config.get("peft_type")))
    bases = [library.base_source] if library else []
    for base in _without_folders([*bases, *named_bases(card, config)]):
        yield f"base_model:{base}"
        yield f"base_model:adapter:{base}"
    if library:
        yield f"library:{library.slug}"
    for name, prefix in CARD_TAGS.items():
        for word in _words(card.get(name)):
            yield (prefix + word)[:LONGEST_WORD]


def _without_folders(names: Iterable[str]) -> list[str]:
    return [name for name in names if not name.startswith(FOLDER_LIKE) and name.count("/") <= 1]


def _words(value: object) -> list[str]:
    """The short texts in a value that may be one or a list of them."""
    values = value if isinstance(value, list) else [value]
    texts = [
        item.encode(errors="replace").decode().replace("\0", "") for item in values if isinstance(item, str)
    ]
    return [text for text in texts if text and len(text) <= LONGEST_WORD]


def _beginning(blob: Blob, most: int) -> bytes:
    return b"".join(blobs.read(blob, length=min(blob.size, most + 1)))
