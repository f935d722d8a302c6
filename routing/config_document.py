"""adapter_config.json as a document: sound JSON of a bounded size, and what is said of its fields.

Nothing an uploader wrote is ever run: names of modules are compared as text, never as regular expressions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from routing.errors import BadAdapter
from routing.finding import Finding
from routing.strict_json import parse_strict

CONFIG_FILE = "adapter_config.json"
CHECK = "adapter-config"
MAX_CONFIG = 64 * 2**10
MAX_DEPTH = 6
TASK_TYPES = (None, "CAUSAL_LM", "SEQ_2_SEQ_LM")
# Only literal names: what people write into `target_modules`, and with `^` for a whole name into patterns.
LITERAL_NAME = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*")


def read_document(directory: Path) -> dict[str, Any]:
    """adapter_config.json as a JSON object; BadAdapter if it is missing, too large or not sound."""
    path = directory / CONFIG_FILE
    if not path.is_file():
        raise BadAdapter(
            [config_error("", "no such file", "the configuration that PEFT writes beside the tensors")]
        )
    if path.stat().st_size > MAX_CONFIG:
        raise BadAdapter([config_error("", f"{path.stat().st_size} bytes", f"at most {MAX_CONFIG}")])
    document = parse_strict(path.read_bytes(), file=CONFIG_FILE, check=CHECK, max_depth=MAX_DEPTH)
    if not isinstance(document, dict):
        raise BadAdapter([config_error("", type(document).__name__, "a JSON object")])
    return document


def config_error(field: str, found: object, expected: str, fix: str = "") -> Finding:
    """What is wrong with a field of adapter_config.json."""
    return Finding(CHECK, "error", CONFIG_FILE, field, str(found), expected, fix)


def is_literal(name: Any) -> bool:
    """Whether this is a module's name or its end, and nothing that could be a pattern."""
    return isinstance(name, str) and LITERAL_NAME.fullmatch(name) is not None


def task_findings(document: Mapping[str, Any]) -> Iterator[Finding]:
    """An adapter for language modelling, of classes that transformers has; of which kind, the base says."""
    if document.get("task_type") not in TASK_TYPES:
        expected = "CAUSAL_LM, or SEQ_2_SEQ_LM for an encoder-decoder"
        yield config_error("task_type", document["task_type"], expected, "Train with that task_type.")
    mapping = document.get("auto_mapping")
    library = mapping.get("parent_library", "") if isinstance(mapping, dict) else ""
    if mapping and not str(library).startswith("transformers."):
        expected = "null, or a class of transformers"
        yield config_error("auto_mapping", mapping, expected, "Train with a task_type.")


def unknown_settings(document: Mapping[str, Any], known: set[str], kind: str) -> Iterator[Finding]:
    """A setting that this hub does not know may change what the tensors mean, unless it is off."""
    for name in sorted(set(document) - known):
        if document[name]:
            yield config_error(
                name,
                document[name],
                f"a setting of PEFT's {kind} that this hub knows",
                "Remove it if it has no effect.",
            )
