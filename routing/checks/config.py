"""adapter_config.json: sound JSON, of a kind that can be routed, for this library's base."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from routing.adapter_config import config_findings
from routing.adapter_layout import belongs_to
from routing.checks.tensors import header_of
from routing.config_document import CONFIG_FILE, read_document
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


def base_is_the_librarys(directory: Path, spec: BaseSpec) -> Iterator[Finding]:
    """The base is named as the library names it; another name passes with a warning if all tensors fit.

    Names prove little either way: people train on copies and in folders of their own.
    """
    declared = _declared_base(directory)
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


def _declared_base(directory: Path) -> Any:
    try:
        return read_document(directory).get("base_model_name_or_path")
    except BadAdapter:
        return None


def _last_part(name: Any) -> str:
    """`org/Name`, `/some/where/Name/` and `name` are taken for the same."""
    return PurePosixPath(name.replace("\\", "/")).name.lower() if isinstance(name, str) else ""
