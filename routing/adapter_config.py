"""adapter_config.json of an upload, by its kind: LoRA and DoRA, (IA)^3, or one that is refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from routing.config_document import config_error, read_document
from routing.errors import BadAdapter
from routing.finding import Finding
from routing.ia3_config import Ia3Settings, ia3_config_findings, ia3_settings
from routing.lora_config import LoraSettings, lora_config_findings, lora_settings
from routing.refused_kinds import refused_kind

Settings = LoraSettings | Ia3Settings


def read_settings(directory: Path) -> Settings:
    """The settings of the adapter in `directory`; BadAdapter with every error in them."""
    document = read_document(directory)
    errors = [finding for finding in config_findings(document) if finding.severity == "error"]
    if errors:
        raise BadAdapter(errors)
    return ia3_settings(document) if document["peft_type"] == "IA3" else lora_settings(document)


def config_findings(document: Mapping[str, Any]) -> Iterator[Finding]:
    """Everything in a configuration that would make the adapter something else than its kind says."""
    match document.get("peft_type"):
        case "LORA":
            yield from lora_config_findings(document)
        case "IA3":
            yield from ia3_config_findings(document)
        case other:
            kind = refused_kind(other)
            found = f"{other}: {kind.what}"
            yield config_error("peft_type", found, f"LORA or IA3, because {kind.why}", kind.fix)
