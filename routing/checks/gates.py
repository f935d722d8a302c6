"""Gates that come with an upload: whose they are, what they were trained on, and that they fit.

Two files, as `fletch train-gate` writes them: the vectors, a row [1, d_in] for each module, and a record.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from routing.adapter_layout import adapted_modules
from routing.checks.tensors import header_of
from routing.config_document import CONFIG_FILE
from routing.digests import canonical_json, digest_of, digest_of_file
from routing.errors import BadAdapter
from routing.finding import Finding
from routing.spec import BaseSpec
from routing.strict_json import parse_strict
from routing.tensor_header import TensorHeader, read_tensor_header
from routing.tensor_names import TENSOR_FILE

GATE_FILE = "fletch_gates.safetensors"
RECORD_FILE = "fletch_gates.json"
GATE_FILES = frozenset({GATE_FILE, RECORD_FILE})
ENDING = ".gate"
FORMAT = 1
CHECK = "gates"
MAX_RECORD = 256 * 2**10
MAX_DEPTH = 3
MOST_POINTS = 10_000
TRAIN_AGAIN = "Train the gates again with `fletch train-gate`, or leave both files out: they are optional."
FIELDS = frozenset(
    {"format", "base", "adapter", "rows", "recipe", "curve", "best_step", "seconds", "peak_bytes"}
)


@dataclass(frozen=True)
class GateRecord:
    """How gates came about, as whoever trained them says: no more than a claim.

    `curve` holds [step, training loss, held-out loss] in nats per token.
    """

    base: str
    adapter: str
    rows: int
    recipe: Mapping[str, Any]
    curve: tuple[tuple[int, float, float], ...]
    best_step: int
    seconds: float
    peak_bytes: int

    def to_json(self) -> dict[str, Any]:
        """Plain JSON that `read_record` reads back."""
        return {
            **vars(self),
            "recipe": dict(self.recipe),
            "curve": [*map(list, self.curve)],
            "format": FORMAT,
        }


def has_gates(directory: Path) -> bool:
    """Whether the upload brings gates, sound or not."""
    return any((directory / name).exists() for name in GATE_FILES)


def base_digest(spec: BaseSpec) -> str:
    """The base's own bytes, whatever it is called and wherever it lies."""
    return digest_of(canonical_json([spec.config_digest, spec.tokenizer_digest, spec.weights_digest]))


def adapter_digest(directory: Path) -> str:
    """The two files of an adapter that its gates depend on."""
    return digest_of(
        canonical_json([digest_of_file(directory / name) for name in (CONFIG_FILE, TENSOR_FILE)])
    )


def gates_are_for_this_adapter(directory: Path, spec: BaseSpec) -> Iterator[Finding]:
    """Both files are there and sound, made on this base for exactly these tensors, a row for each module."""
    if not has_gates(directory):
        return
    if missing := sorted(name for name in GATE_FILES if not (directory / name).is_file()):
        yield _error(missing[0], "", "no such file", "the gates and their record together")
        return
    try:
        yield from _record_findings(read_record(directory), directory, spec)
    except BadAdapter as error:
        yield from error.findings
    try:
        header = read_tensor_header(directory / GATE_FILE)
    except BadAdapter as error:
        yield from error.findings
    else:
        yield from _shape_findings(header, directory, spec)


def read_record(directory: Path) -> GateRecord:
    """The record of the gates in this folder; BadAdapter with every finding if it is none."""
    path = directory / RECORD_FILE
    if (size := path.stat().st_size) > MAX_RECORD:
        raise BadAdapter([_error(RECORD_FILE, "", f"{size} bytes", f"at most {MAX_RECORD}")])
    document = parse_strict(path.read_bytes(), file=RECORD_FILE, check=CHECK, max_depth=MAX_DEPTH)
    if not isinstance(document, dict) or set(document) != FIELDS:
        found = f"the fields {sorted(document)}" if isinstance(document, dict) else type(document).__name__
        raise BadAdapter([_error(RECORD_FILE, "", found, f"exactly {', '.join(sorted(FIELDS))}")])
    if wrong := [name for name, is_right in _SHAPES.items() if not is_right(document[name])]:
        raise BadAdapter([_error(RECORD_FILE, name, "another shape", _EXPECTED[name]) for name in wrong])
    said = {name: value for name, value in document.items() if name != "format"}
    return GateRecord(**{**said, "curve": tuple(tuple(point) for point in document["curve"])})


def module_of(tensor: str) -> str | None:
    """The module whose gate a tensor of this name is."""
    return tensor.removesuffix(ENDING) if tensor.endswith(ENDING) else None


def _record_findings(record: GateRecord, directory: Path, spec: BaseSpec) -> Iterator[Finding]:
    if record.base != base_digest(spec):
        expected = f"{base_digest(spec)[:12]}, which is {spec.name} at the library's revision"
        yield _error(RECORD_FILE, "base", record.base[:12], expected)
    present = all((directory / name).is_file() for name in (CONFIG_FILE, TENSOR_FILE))
    if present and record.adapter != adapter_digest(directory):
        expected = f"{adapter_digest(directory)[:12]}: these tensors and this configuration"
        yield _error(RECORD_FILE, "adapter", record.adapter[:12], expected)


def _shape_findings(header: TensorHeader, directory: Path, spec: BaseSpec) -> Iterator[Finding]:
    adapted = header_of(directory)
    changed = adapted_modules(adapted) if adapted else set()
    if not header.tensors:
        yield _error(GATE_FILE, "", "no gates", "a gate for each module that the adapter changes")
    for name, entry in header.tensors.items():
        module = module_of(name)
        if module is None or module not in spec:
            yield _error(GATE_FILE, name, "no module of the base", f"a module's name and {ENDING}")
        elif module not in changed:
            yield _error(GATE_FILE, name, "a module that the adapter leaves alone", "one that it changes")
        elif entry.shape != (1, spec.module(module).d_in):
            yield _error(GATE_FILE, name, f"shape {list(entry.shape)}", f"[1, {spec.module(module).d_in}]")


def _error(file: str, field: str, found: str, expected: str) -> Finding:
    return Finding(CHECK, "error", file, field, found, expected, TRAIN_AGAIN)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**53


def _is_point(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 3 and _is_count(value[0]) and all(map(_is_number, value))  # noqa: PLR2004


def _is_flat(value: Any) -> bool:
    return isinstance(value, dict) and all(
        item is None or isinstance(item, str | int | float) for item in value.values()
    )


_EXPECTED = {
    "format": str(FORMAT),
    "base": "a digest",
    "adapter": "a digest",
    "rows": "a number of rows",
    "recipe": "settings by name",
    "curve": "[[step, training loss, held-out loss], ...]",
    "best_step": "a step",
    "seconds": "a number of seconds",
    "peak_bytes": "a number of bytes",
}
_SHAPES = {
    "format": lambda value: value == FORMAT,
    "base": lambda value: isinstance(value, str),
    "adapter": lambda value: isinstance(value, str),
    "rows": _is_count,
    "recipe": _is_flat,
    "curve": lambda value: (
        isinstance(value, list) and 0 < len(value) <= MOST_POINTS and all(map(_is_point, value))
    ),
    "best_step": _is_count,
    "seconds": lambda value: _is_number(value) and 0 <= value < 2**53,
    "peak_bytes": _is_count,
}
