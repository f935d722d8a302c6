"""adapter_config.json of an (IA)^3: which modules it scales, and at which of them the input."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from routing.config_document import config_error, is_literal, task_findings, unknown_settings
from routing.finding import Finding

SUPPORTED = frozenset({"peft_type", "feedforward_modules"})
# Settings that say how the adapter was made or where it was put on; the tensors themselves say the latter.
IGNORED = frozenset(
    {
        "base_model_name_or_path",  # compared with the library's base by a check of its own
        "exclude_modules",
        "fan_in_fan_out",  # the vectors are stored the same way for Linear and Conv1D
        "inference_mode",
        "init_ia3_weights",
        "peft_version",
        "revision",
        "runtime_config",
        "target_modules",
    }
)
REFUSED: Mapping[str, str] = {
    "modules_to_save": "whole replaced modules cannot be mixed with other experts",
}
LITERAL = "a list of module names or their ends, in letters, digits, _ and dots"
SUBSET = "names of target_modules: PEFT takes no others"


@dataclass(frozen=True)
class Ia3Settings:
    """The setting that decides what an (IA)^3 computes: which modules have their input scaled."""

    feedforward: frozenset[str]

    def scales_input(self, module: str) -> bool:
        """Whether the vector of this module scales its input; by PEFT's rule, which knows no dots."""
        return any(module.endswith(name) for name in self.feedforward)


def ia3_settings(document: Mapping[str, Any]) -> Ia3Settings:
    """The settings of a configuration without errors."""
    return Ia3Settings(frozenset(document.get("feedforward_modules") or ()))


def ia3_config_findings(document: Mapping[str, Any]) -> Iterator[Finding]:
    """Everything in a configuration that would make the adapter something else than an (IA)^3."""
    yield from task_findings(document)
    for name, reason in REFUSED.items():
        if document.get(name):
            fix = "Train an (IA)^3 without it and upload that."
            yield config_error(name, document[name], f"not set, because {reason}", fix)
    known = {*SUPPORTED, *IGNORED, *REFUSED, "auto_mapping", "task_type"}
    yield from unknown_settings(document, known, "(IA)^3")
    yield from _feedforward(document)


def _feedforward(document: Mapping[str, Any]) -> Iterator[Finding]:
    """Literal names; where the targets are named too, some of them."""
    names, targets = document.get("feedforward_modules") or [], document.get("target_modules")
    if not isinstance(names, list) or not all(is_literal(name) for name in names):
        fix = "Name the modules one by one; patterns of strangers are not run."
        yield config_error("feedforward_modules", names, LITERAL, fix)
    elif isinstance(targets, list) and (others := sorted(set(names) - {str(name) for name in targets})):
        yield config_error("feedforward_modules", ", ".join(others), SUBSET, "Correct one of the two lists.")
