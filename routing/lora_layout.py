"""Which module of the base each tensor of a LoRA or DoRA belongs to: decided by names and shapes alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from routing.config_document import CONFIG_FILE
from routing.errors import BadAdapter
from routing.finding import Finding
from routing.lora_config import MAX_ALPHA_PER_RANK, MAX_RANK, LoraSettings
from routing.spec import BaseSpec, TargetModule
from routing.tensor_header import TensorEntry, TensorHeader
from routing.tensor_names import (
    CHECK,
    OTHER_BASE,
    SAVE_AGAIN,
    TENSOR_FILE,
    module_and_part,
    reason_for_stranger,
    tensor_error,
)

LORA_PARTS = {"lora_A.weight": "A", "lora_B.weight": "B", "lora_magnitude_vector": "magnitude"}
# What PEFT writes of a module, and so what is missing when one of them is not there.
FILE_NAMES = {part: name.removesuffix(".weight") for name, part in LORA_PARTS.items()}
NO_DORA = "a DoRA magnitude, though use_dora is not set"


@dataclass(frozen=True)
class Pair:
    """The tensors of one module: A [rank, d_in], B [d_out, rank], of a DoRA the rows' lengths [d_out]."""

    module: str
    a: TensorEntry
    b: TensorEntry
    magnitude: TensorEntry | None = None

    @property
    def rank(self) -> int:
        """The rank that the shapes say."""
        return self.a.shape[0]


def factor_pairs(header: TensorHeader, settings: LoraSettings, spec: BaseSpec) -> tuple[Pair, ...]:
    """The pairs of an adapter in the base's order; BadAdapter with every error if they do not fit."""
    errors = [f for f in lora_layout_findings(header, settings, spec) if f.severity == "error"]
    if errors:
        raise BadAdapter(errors)
    parts = _parts(header)
    return tuple(
        Pair(module.name, found["A"], found["B"], found.get("magnitude"))
        for module in spec.target_modules
        if (found := parts.get(module.name))
    )


def lora_layout_findings(
    header: TensorHeader, settings: LoraSettings | None, spec: BaseSpec
) -> Iterator[Finding]:
    """Every tensor that is no part of a LoRA on a target module, and every part of the wrong shape or rank.

    Without settings (they could not be read) the declared ranks are not compared.
    """
    yield from _strange_tensors(header, settings, spec)
    parts = _parts(header)
    if not any(module in spec for module in parts):
        yield tensor_error(
            "", "no LoRA tensors", "lora_A and lora_B for at least one module of the base", SAVE_AGAIN
        )
    for name, found in parts.items():
        if name not in spec:
            continue
        if missing := sorted(_needed(settings) - set(found)):
            yield tensor_error(
                f"{name}.{FILE_NAMES[missing[0]]}",
                "no such tensor",
                "all parts of every adapted module",
                SAVE_AGAIN,
            )
            continue
        yield from _shape_findings(spec.module(name), found)
        if settings is not None:
            yield from _setting_findings(name, found["A"], settings)


def lora_fits(header: TensorHeader, spec: BaseSpec) -> bool:
    """Whether all modules that the tensors name are modules of this base, in its widths."""
    return all(
        module in spec
        and ("A" not in parts or parts["A"].shape[-1] == spec.module(module).d_in)
        and ("B" not in parts or parts["B"].shape[0] == spec.module(module).d_out)
        for module, parts in _parts(header).items()
    )


def _parts(header: TensorHeader) -> dict[str, dict[str, TensorEntry]]:
    parts: dict[str, dict[str, TensorEntry]] = {}
    for name, entry in header.tensors.items():
        if found := module_and_part(name, LORA_PARTS):
            module, part = found
            parts.setdefault(module, {})[LORA_PARTS[part]] = entry
    return parts


def _needed(settings: LoraSettings | None) -> set[str]:
    return {"A", "B", "magnitude"} if settings is not None and settings.dora else {"A", "B"}


def _strange_tensors(
    header: TensorHeader, settings: LoraSettings | None, spec: BaseSpec
) -> Iterator[Finding]:
    """Whatever is not a part of a LoRA on a target module would overwrite something or be lost."""
    for name in header.tensors:
        found = module_and_part(name, LORA_PARTS)
        if found is None:
            fix = "Save only the LoRA, with PEFT's save_pretrained(..., save_embedding_layers=False)."
            expected = "only tensors named base_model.model.<module>.lora_A.weight and lora_B.weight"
            yield tensor_error(name, reason_for_stranger(name), expected, fix)
        elif found[0] not in spec:
            expected = f"a module of {spec.name}, such as {spec.target_modules[0].name}"
            yield tensor_error(name, f"the module {found[0]}", expected, OTHER_BASE)
        elif LORA_PARTS[found[1]] == "magnitude" and settings is not None and not settings.dora:
            yield tensor_error(name, NO_DORA, "use_dora in adapter_config.json, or no magnitudes", SAVE_AGAIN)


def _shape_findings(module: TargetModule, parts: dict[str, TensorEntry]) -> Iterator[Finding]:
    a, b = parts["A"], parts["B"]
    rank, narrow = a.shape[0], min(module.d_in, module.d_out)
    if a.shape[1:] != (module.d_in,):  # also when it is no matrix
        yield tensor_error(
            a.name, f"shape {list(a.shape)}", f"[rank, {module.d_in}], the base's width there", OTHER_BASE
        )
    if b.shape != (module.d_out, rank):
        yield tensor_error(
            b.name,
            f"shape {list(b.shape)}",
            f"[{module.d_out}, {rank}], the base's width and A's rank",
            OTHER_BASE,
        )
    if "magnitude" in parts and parts["magnitude"].shape != (module.d_out,):
        found = f"shape {list(parts['magnitude'].shape)}"
        expected = f"[{module.d_out}], a length for each output"
        yield tensor_error(parts["magnitude"].name, found, expected, OTHER_BASE)
    if rank > MAX_RANK:
        yield tensor_error(
            a.name, f"rank {rank}", f"at most {MAX_RANK}", "Reduce it by a singular value decomposition."
        )
    elif rank > narrow:
        fix = "The rest adds nothing and is removed without loss."
        yield Finding(
            CHECK, "warning", TENSOR_FILE, a.name, f"rank {rank}", f"at most {narrow}, the width", fix
        )


def _setting_findings(module: str, a: TensorEntry, settings: LoraSettings) -> Iterator[Finding]:
    rank, declared, alpha = a.shape[0], settings.rank_of(module), settings.alpha_of(module)
    if declared != rank:
        fix = "Correct r or rank_pattern, or save tensors and configuration together."
        yield tensor_error(a.name, f"rank {rank}", f"{declared}, as {CONFIG_FILE} declares", fix)
    elif alpha / rank > MAX_ALPHA_PER_RANK:
        expected = f"at most {MAX_ALPHA_PER_RANK:g} times the rank {rank}"
        fix = "Fold a part of the scale into B."
        yield Finding(CHECK, "error", CONFIG_FILE, f"alpha of {module}", f"{alpha:g}", expected, fix)
