"""adapter_config.json: sound JSON, of a kind that can be routed, for this library's base."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from routing.adapter_config import config_findings
from routing.adapter_layout import belongs_to
from routing.checks.tensors import header_of
from routing.config_document import CONFIG_FILE, TASK_TYPES, read_document
from routing.errors import BadAdapter
from routing.finding import Finding
from routing.spec import BaseSpec


def config_is_of_a_known_kind(directory: Path, spec: BaseSpec) -> Iterator[Finding]:  # noqa: ARG001
    """Sound JSON whose every setting is understood; see the tables of `lora_config` and `ia3_config`."""
    try:
        document = read_document(directory)
    except BadAdapter as error:
        yield from error.findings
    else:
        yield from config_findings(document)


def task_is_the_librarys(directory: Path, spec: BaseSpec) -> Iterator[Finding]:
    """Trained for what the base does: to continue a text, or to answer one that an encoder reads."""
    declared = _declared(directory, "task_type")
    if declared in TASK_TYPES and declared not in (None, spec.task_type):
        expected = f"{spec.task_type}, since {spec.name} is {_family(spec)}"
        fix = "Upload it to a library of the kind of base it was trained on."
        yield Finding("task-type", "error", CONFIG_FILE, "task_type", str(declared), expected, fix)


def _family(spec: BaseSpec) -> str:
    return "an encoder-decoder" if spec.family == "encoder-decoder" else "a causal language model"


def base_is_the_librarys(directory: Path, spec: BaseSpec) -> Iterator[Finding]:
    """The base is named as the library names it; another name passes with a warning if all tensors fit.

    Names prove little either way: people train on copies and in folders of their own.
    """
    declared = _declared(directory, "base_model_name_or_path")
    if _last_part(declared) == _last_part(spec.name):
        return
    header = header_of(directory)
    found = declared if isinstance(declared, str) else "no name of a base"
    if header is None or belongs_to(header, spec):
        fix = "Make sure that it was trained on this base."
        yield Finding("base-name", "warning", CONFIG_FILE, "base_model_name_or_path", found, spec.name, fix)
    else:
        fix = f"Upload it to a library of its own base, or train it on {spec.name}."
        yield Finding("base-name", "error", CONFIG_FILE, "base_model_name_or_path", found, spec.name, fix)


def _declared(directory: Path, field: str) -> Any:
    try:
        return read_document(directory).get(field)
    except BadAdapter:
        return None


def _last_part(name: Any) -> str:
    """`org/Name`, `/some/where/Name/` and `name` are taken for the same."""
    return PurePosixPath(name.replace("\\", "/")).name.lower() if isinstance(name, str) else ""
