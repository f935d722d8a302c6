"""The tensors of an upload against the base, by the upload's kind: LoRA and DoRA, or (IA)^3."""

from __future__ import annotations

from collections.abc import Iterator

from routing.adapter_config import Settings
from routing.finding import Finding
from routing.ia3_config import Ia3Settings
from routing.ia3_layout import IA3_PART, ia3_fits, ia3_layout_findings
from routing.lora_config import LoraSettings
from routing.lora_layout import LORA_PARTS, lora_fits, lora_layout_findings
from routing.spec import BaseSpec
from routing.tensor_header import TensorHeader
from routing.tensor_names import any_part, module_and_part


def layout_findings(header: TensorHeader, settings: Settings | None, spec: BaseSpec) -> Iterator[Finding]:
    """Every tensor that does not fit the base or the settings; without settings the names say the kind."""
    if isinstance(settings, Ia3Settings):
        return ia3_layout_findings(header, settings, spec)
    if isinstance(settings, LoraSettings) or not any_part(header.tensors, IA3_PART):
        return lora_layout_findings(header, settings, spec)
    return ia3_layout_findings(header, None, spec)


def adapted_modules(header: TensorHeader) -> set[str]:
    """The modules for which there is any tensor that PEFT would write."""
    parts = (*LORA_PARTS, IA3_PART)
    return {found[0] for name in header.tensors if (found := module_and_part(name, parts))}


def belongs_to(header: TensorHeader, spec: BaseSpec) -> bool:
    """Whether all modules that the tensors name are modules of this base, in its widths."""
    return lora_fits(header, spec) and ia3_fits(header, spec)
