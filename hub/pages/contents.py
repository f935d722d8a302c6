"""What is in one file of a release, as its page shows it: tensors of a safetensors file, text, or nothing.

Strangers' bytes, so little is read and none of it is believed: a header up to a size, and text up to a size.
Whether a file is sound is for the checks to say, which read it strictly.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from hub.blobs import services as blobs
from hub.blobs.models import Blob

LENGTH_BYTES = 8  # of a safetensors file say how long its header is
LARGEST_HEADER = 1024 * 1024
LARGEST_TEXT = 64 * 1024
MOST_TENSORS = 2_000
MOST_SAID = 50
LONGEST_SAID = 300
MOST_DIMENSIONS = 8
LARGEST_SIDE = 2**53
LONGEST_NUMBER = 9  # digits of a layer
LONGEST_TYPE = 16
TEXTS = (".json", ".jsonl", ".md", ".txt", ".yaml", ".yml", ".toml", ".py", ".jinja", ".gitattributes")
TENSORS = ".safetensors"


@dataclass(frozen=True)
class Tensor:
    """One tensor as the header describes it."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    size: int

    @property
    def numbers(self) -> int:
        return math.prod(self.shape)

    @property
    def shape_said(self) -> str:
        return " \N{MULTIPLICATION SIGN} ".join(str(side) for side in self.shape) or "a single number"


@dataclass(frozen=True)
class Contents:
    """What a page shows of a file. `complaint` where nothing is shown, `more` tensors where not all are."""

    complaint: str = ""
    text: str | None = None
    tensors: tuple[Tensor, ...] = ()
    more: int = 0
    said: tuple[tuple[str, str], ...] = ()

    @property
    def numbers(self) -> int:
        return sum(tensor.numbers for tensor in self.tensors)

    @property
    def dtypes(self) -> list[str]:
        return sorted({tensor.dtype for tensor in self.tensors})


class _Unreadable(Exception):
    """This is no header of a safetensors file."""


def contents_of(path: str, blob: Blob) -> Contents:
    if path.endswith(TENSORS):
        return _tensors(blob)
    if path.lower().endswith(TEXTS):
        return _text(blob)
    return Contents("Files of this kind are not shown.")


def _text(blob: Blob) -> Contents:
    if blob.size > LARGEST_TEXT:
        return Contents("It is too long to be shown here. Download it to read it.")
    try:
        return Contents(text=_bytes(blob, 0, blob.size).decode())
    except UnicodeDecodeError:
        return Contents("It is named like text but is not UTF-8.")


def _tensors(blob: Blob) -> Contents:
    try:
        header = _header(blob)
    except _Unreadable as error:
        return Contents(f"Its header cannot be shown: {error}.")
    metadata = header.pop("__metadata__", None)
    tensors = sorted((_tensor(name, described) for name, described in header.items()), key=_by_place)
    return Contents(
        tensors=tuple(tensors[:MOST_TENSORS]),
        more=max(0, len(tensors) - MOST_TENSORS),
        said=tuple(_said(metadata)) if isinstance(metadata, dict) else (),
    )


def _header(blob: Blob) -> dict[str, object]:
    """The JSON object at the beginning of a file. https://github.com/huggingface/safetensors#format"""
    length = int.from_bytes(_bytes(blob, 0, min(LENGTH_BYTES, blob.size)), "little")
    if length > blob.size - LENGTH_BYTES:
        raise _Unreadable("it says to be longer than the file")
    if length > LARGEST_HEADER:
        raise _Unreadable(f"it is longer than {LARGEST_HEADER} bytes")
    try:
        header = json.loads(_bytes(blob, LENGTH_BYTES, length))
    except (ValueError, RecursionError):
        raise _Unreadable("it is no JSON") from None
    if not isinstance(header, dict):
        raise _Unreadable("it is no JSON object")
    return header


def _tensor(name: str, described: object) -> Tensor:
    """As far as it is described as the format says; what is not is shown as empty."""
    parts: Mapping[str, object] = described if isinstance(described, dict) else {}
    shape, offsets, dtype = parts.get("shape"), parts.get("data_offsets"), parts.get("dtype")
    match _whole_numbers(offsets):
        case (start, end) if end >= start:
            size = end - start
        case _:
            size = 0
    return Tensor(name, dtype[:LONGEST_TYPE] if isinstance(dtype, str) else "", _whole_numbers(shape), size)


def _whole_numbers(found: object) -> tuple[int, ...]:
    """A short list of sizes; empty where it is anything else."""
    if not isinstance(found, list) or len(found) > MOST_DIMENSIONS:
        return ()
    sizes = tuple(side for side in found if isinstance(side, int) and 0 <= side < LARGEST_SIDE)
    return sizes if len(sizes) == len(found) else ()


def _by_place(tensor: Tensor) -> list[tuple[int, int, str]]:
    """Layer 10 comes after layer 9."""
    return [
        (0, int(part), "")
        if part.isascii() and part.isdigit() and len(part) <= LONGEST_NUMBER
        else (1, 0, part)
        for part in tensor.name.split(".")
    ]


def _said(metadata: Mapping[object, object]) -> Iterator[tuple[str, str]]:
    for name, value in list(metadata.items())[:MOST_SAID]:
        yield str(name)[:LONGEST_SAID], str(value)[:LONGEST_SAID]


def _bytes(blob: Blob, start: int, length: int) -> bytes:
    return b"".join(blobs.read(blob, start=start, length=length))
