"""adapter_config.json of a LoRA: what each of PEFT's settings means, and the few that are acted on."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from routing.config_document import LITERAL_NAME, config_error, task_findings, unknown_settings
from routing.finding import Finding

Value = TypeVar("Value")

MAX_RANK = 256
MAX_ALPHA_PER_RANK = 64.0

# Settings whose meaning routing computes with.
SUPPORTED = frozenset(
    {"peft_type", "r", "lora_alpha", "use_rslora", "use_dora", "rank_pattern", "alpha_pattern"}
)

# Settings that say how the adapter was made or where it was put on; the tensors themselves say the latter.
IGNORED = frozenset(
    {
        "base_model_name_or_path",  # compared with the library's base by a check of its own
        "eva_config",
        "exclude_modules",
        "fan_in_fan_out",  # A and B are stored the same way for Linear and Conv1D
        "inference_mode",
        "layers_pattern",
        "layers_to_transform",
        "loftq_config",  # acts only together with init_lora_weights = loftq, which is refused
        "lora_dropout",
        "megatron_core",
        "peft_version",
        "qalora_group_size",  # acts only together with use_qalora, which is refused
        "revision",
        "runtime_config",
        "target_modules",
    }
)

CHANGES_BASE = "it was trained on a base whose weights this initialisation changed"
CONVERT = (
    "Save it with PEFT's save_pretrained(..., path_initial_model_for_weight_conversion=...) as a plain LoRA."
)

# Settings that would make the update something else than scaling x B A on the base as registered.
REFUSED: Mapping[str, str] = {
    "alora_invocation_tokens": "an activated LoRA acts only after certain tokens",
    "arrow_config": "an Arrow router is no expert; upload the experts that it routes",
    "corda_config": CHANGES_BASE,
    "ensure_weight_tying": "tied layers would have to change together",
    "kasa_config": CHANGES_BASE,
    "layer_replication": "it would change the number of the base's layers",
    "lora_bias": "an expert is a product of two matrices, without a bias",
    "lora_ga_config": CHANGES_BASE,
    "megatron_config": "Megatron layers are not what the base has",
    "modules_to_save": "whole replaced modules cannot be mixed with other experts",
    "monteclora_config": "sampled updates have no one value to mix",
    "target_parameters": "only whole Linear and Conv1D layers are routed",
    "trainable_token_indices": "changed token embeddings cannot be mixed with other experts",
    "use_bdlora": "block-diagonal factors are not plain A and B",
    "use_qalora": "quantised pooling changes what A is multiplied with",
    "velora_config": "it compresses activations, so that A and B alone are not the update",
}
TRAIN_PLAIN = "Train a plain LoRA (leave this setting at its default) and upload that."

# Initialisations besides true and false after which the base still is the registered one.
PLAIN_INITIALISATIONS = ("gaussian", "eva", "orthogonal")
LITERAL_KEY = re.compile(r"\^?" + LITERAL_NAME.pattern)


@dataclass(frozen=True)
class LoraSettings:
    """What decides what an adapter computes: rank and scaling per module, and whether it is a DoRA."""

    rank: int
    alpha: float
    rslora: bool
    rank_pattern: Mapping[str, int]
    alpha_pattern: Mapping[str, float]
    dora: bool = False

    def rank_of(self, module: str) -> int:
        """The declared rank at a module."""
        return _matching(self.rank_pattern, module, self.rank)

    def alpha_of(self, module: str) -> float:
        """The declared alpha at a module."""
        return _matching(self.alpha_pattern, module, self.alpha)

    def scaling_of(self, module: str) -> float:
        """What B A is multiplied with at a module: alpha / r, or alpha / sqrt(r) for rank-stabilised LoRA."""
        rank, alpha = self.rank_of(module), self.alpha_of(module)
        return alpha / math.sqrt(rank) if self.rslora else alpha / rank


def _matching(pattern: Mapping[str, Value], module: str, default: Value) -> Value:
    """PEFT's rule for literal keys: the first that is the module's name, or its end after a dot."""
    for key, value in pattern.items():
        if module == key.removeprefix("^") or module.endswith(f".{key}"):
            return value
    return default


def lora_settings(document: Mapping[str, Any]) -> LoraSettings:
    """The settings of a configuration without errors."""
    return LoraSettings(
        rank=document.get("r", 8),
        alpha=float(document.get("lora_alpha", 8)),
        rslora=document.get("use_rslora", False),
        rank_pattern=document.get("rank_pattern") or {},
        alpha_pattern={key: float(alpha) for key, alpha in (document.get("alpha_pattern") or {}).items()},
        dora=document.get("use_dora", False),
    )


def lora_config_findings(document: Mapping[str, Any]) -> Iterator[Finding]:
    """Everything in a configuration that would make the adapter something else than a LoRA or a DoRA."""
    for part in (_kind, _refused_settings, _unknown_settings, _initialisation, _ranks, _alphas):
        yield from part(document)


def _kind(document: Mapping[str, Any]) -> Iterator[Finding]:
    """A LoRA or a DoRA for causal language modelling, without biases of its own."""
    yield from task_findings(document)
    if document.get("bias", "none") != "none":
        yield config_error(
            "bias", document["bias"], "none", "It would change the base's own biases. " + TRAIN_PLAIN
        )
    for switch in ("use_rslora", "use_dora"):
        if not isinstance(document.get(switch, False), bool):
            yield config_error(switch, document[switch], "true or false")


def _refused_settings(document: Mapping[str, Any]) -> Iterator[Finding]:
    for name, reason in REFUSED.items():
        if document.get(name):
            fix = CONVERT if reason == CHANGES_BASE else TRAIN_PLAIN
            yield config_error(name, document[name], f"not set, because {reason}", fix)


def _unknown_settings(document: Mapping[str, Any]) -> Iterator[Finding]:
    known = {*SUPPORTED, *IGNORED, *REFUSED, "auto_mapping", "bias", "init_lora_weights", "task_type"}
    yield from unknown_settings(document, known, "LoRA")


def _initialisation(document: Mapping[str, Any]) -> Iterator[Finding]:
    initialisation = document.get("init_lora_weights", True)
    if not (isinstance(initialisation, bool | None) or initialisation in PLAIN_INITIALISATIONS):
        expected = "true, gaussian, eva or orthogonal: otherwise the base was another one in training"
        yield config_error("init_lora_weights", initialisation, expected, CONVERT)


def _ranks(document: Mapping[str, Any]) -> Iterator[Finding]:
    def sound(value: Any) -> bool:
        return type(value) is int and 1 <= value <= MAX_RANK

    yield from _numbers(document, "r", "rank_pattern", sound, f"a whole number from 1 to {MAX_RANK}")


def _alphas(document: Mapping[str, Any]) -> Iterator[Finding]:
    def sound(value: Any) -> bool:
        return type(value) in (int, float) and value > 0

    fix = "A negative update is one with the sign of B changed."
    yield from _numbers(document, "lora_alpha", "alpha_pattern", sound, "a number above 0", fix)


def _numbers(
    document: Mapping[str, Any],
    name: str,
    pattern: str,
    sound: Callable[[Any], bool],
    expected: str,
    fix: str = "",
) -> Iterator[Finding]:
    """A number, and a table of exceptions to it by literal module name."""
    if not sound(document.get(name, 8)):
        yield config_error(name, document[name], expected, fix)
    exceptions = document.get(pattern) or {}
    if not isinstance(exceptions, dict):
        yield config_error(pattern, type(exceptions).__name__, "a table of module names")
        return
    for key, value in exceptions.items():
        if not LITERAL_KEY.fullmatch(key):
            yield config_error(
                f"{pattern}.{key}",
                "a pattern",
                "a module name or its end, in letters, digits, _ and dots",
                "Name the modules one by one; patterns of strangers are not run.",
            )
        if not sound(value):
            yield config_error(f"{pattern}.{key}", value, expected, fix)
