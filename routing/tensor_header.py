"""The header of a safetensors file, read strictly: names, types and places, before any byte is believed.

The format: 8 bytes of little-endian header length, the header as JSON beginning with `{`, then the tensors'
bytes without holes. The reference library accepts more: duplicate names, headers of 100 MB, unknown fields.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from routing.errors import BadAdapter
from routing.finding import Finding
from routing.strict_json import parse_strict

CHECK = "tensor-file"
DTYPE_BYTES = {"F32": 4, "F16": 2, "BF16": 2}
MAX_HEADER = 8 * 2**20
MAX_TENSORS = 20_000
MAX_METADATA = 64 * 2**10
MAX_DIMENSION = 2**20
LENGTH_BYTES = 8
SAVE_AGAIN = "Save the adapter again with PEFT's save_pretrained."


@dataclass(frozen=True)
class TensorEntry:
    """One tensor: its type, shape and the range of its bytes, counted from the end of the header."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True)
class TensorHeader:
    """All tensors of a file by name; their bytes start at `data_start`."""

    tensors: Mapping[str, TensorEntry]
    data_start: int


def read_tensor_header(path: Path) -> TensorHeader:
    """The header of the safetensors file at `path`; BadAdapter with every finding if it is not sound."""
    document, data_start, data_size = _read_document(path)
    metadata = document.pop("__metadata__", {})
    findings = [*_metadata_findings(path.name, metadata)]
    tensors: dict[str, TensorEntry] = {}
    for name, fields in document.items():
        problems = [*_entry_findings(path.name, name, fields)]
        findings += problems
        if not problems:
            begin, end = fields["data_offsets"]
            tensors[name] = TensorEntry(name, fields["dtype"], tuple(fields["shape"]), begin, end)
    if not findings:
        findings = [*_coverage_findings(path.name, tensors, data_size)]
    if findings:
        raise BadAdapter(findings)
    return TensorHeader(tensors, data_start)


def _read_document(path: Path) -> tuple[dict[str, Any], int, int]:
    """(header as JSON object, where the data starts, how many bytes of data follow)."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(LENGTH_BYTES), "little")
        if size < LENGTH_BYTES or length > size - LENGTH_BYTES:
            raise _bad(
                path.name, f"a header of {length} bytes in a file of {size}", "a header inside the file"
            )
        if length > MAX_HEADER:
            raise _bad(path.name, f"a header of {length} bytes", f"at most {MAX_HEADER}")
        content = stream.read(length)
    if not content.startswith(b"{"):
        raise _bad(path.name, f"a header beginning with {content[:1]!r}", "a header beginning with {")
    document = parse_strict(content, file=path.name, check=CHECK, max_depth=3)
    if len(document) > MAX_TENSORS + 1:
        raise _bad(path.name, f"{len(document)} tensors", f"at most {MAX_TENSORS}")
    return document, LENGTH_BYTES + length, size - LENGTH_BYTES - length


def _bad(file: str, found: str, expected: str) -> BadAdapter:
    return BadAdapter([Finding(CHECK, "error", file, "header", found, expected, SAVE_AGAIN)])


def _metadata_findings(file: str, metadata: Any) -> Iterator[Finding]:
    """Metadata maps text to text and is small; nothing in it is ever used."""
    plain = isinstance(metadata, dict) and all(isinstance(value, str) for value in metadata.values())
    if not plain:
        yield Finding(
            CHECK, "error", file, "__metadata__", "values that are not text", "text to text", SAVE_AGAIN
        )
    elif (size := sum(len(key) + len(value) for key, value in metadata.items())) > MAX_METADATA:
        yield Finding(
            CHECK, "error", file, "__metadata__", f"{size} characters", f"at most {MAX_METADATA}", SAVE_AGAIN
        )


def _entry_findings(file: str, name: str, fields: Any) -> Iterator[Finding]:
    """One tensor's entry: exactly the three fields, a known type, one or two dimensions, as many bytes."""

    def finding(found: object, expected: str, fix: str = SAVE_AGAIN) -> Finding:
        return Finding(CHECK, "error", file, name, str(found), expected, fix)

    if not isinstance(fields, dict) or set(fields) != {"dtype", "shape", "data_offsets"}:
        found = sorted(fields) if isinstance(fields, dict) else type(fields).__name__
        yield finding(f"the fields {found}", "exactly dtype, shape and data_offsets")
        return
    dtype, shape, offsets = fields["dtype"], fields["shape"], fields["data_offsets"]
    known = isinstance(dtype, str) and dtype in DTYPE_BYTES
    if not known:
        yield finding(
            f"dtype {dtype}", "F32, F16 or BF16", "Convert the adapter with .float() and save it again."
        )
    if (
        not _whole_numbers(shape)
        or len(shape) not in (1, 2)
        or not all(1 <= size <= MAX_DIMENSION for size in shape)
    ):
        expected = f"one or two dimensions of 1 to {MAX_DIMENSION}: an adapter has vectors and matrices"
        yield finding(f"shape {shape}", expected)
    elif not _whole_numbers(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:  # noqa: PLR2004
        yield finding(f"data_offsets {offsets}", "begin and end, begin first")
    elif known and offsets[1] - offsets[0] != math.prod(shape) * DTYPE_BYTES[dtype]:
        yield finding(
            f"{offsets[1] - offsets[0]} bytes for {dtype} {shape}", "as many bytes as its shape needs"
        )


def _whole_numbers(value: Any) -> bool:
    return isinstance(value, list) and all(type(item) is int for item in value)


def _coverage_findings(file: str, tensors: Mapping[str, TensorEntry], data_size: int) -> Iterator[Finding]:
    """The tensors follow each other without gap or overlap and fill the file: no byte lacks a meaning."""
    end = 0
    for entry in sorted(tensors.values(), key=lambda entry: (entry.begin, entry.end)):
        if entry.begin != end:
            what = "overlapping bytes" if entry.begin < end else "unused bytes before it"
            yield Finding(CHECK, "error", file, entry.name, what, f"its bytes begin at {end}", SAVE_AGAIN)
        end = max(end, entry.end)
    if end != data_size:
        yield Finding(
            CHECK, "error", file, "", f"{data_size} bytes of data", f"{end}, as the header says", SAVE_AGAIN
        )
