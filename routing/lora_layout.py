"""Which module of the base each tensor of an adapter belongs to: decided by names and shapes alone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from routing.errors import BadAdapter
from routing.finding import Finding
from routing.lora_config import CONFIG_FILE, MAX_ALPHA_PER_RANK, MAX_RANK, LoraSettings
from routing.spec import BaseSpec, TargetModule
from routing.tensor_header import TensorEntry, TensorHeader

TENSOR_FILE = "adapter_model.safetensors"
CHECK = "tensors-fit-base"
SAVE_AGAIN = "Save the whole adapter again with PEFT's save_pretrained."
OTHER_BASE = "Upload it to a library of the base it was trained on, or train it on this one."
# How PEFT names the two factors of a LoRA on a module when it saves them.
FACTOR_NAME = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<half>[AB])\.weight")


@dataclass(frozen=True)
class Pair:
    """The two tensors of one module: A [rank, d_in] and B [d_out, rank]."""

    module: str
    a: TensorEntry
    b: TensorEntry

    @property
    def rank(self) -> int:
        """The rank that the shapes say."""
        return self.a.shape[0]


def factor_pairs(header: TensorHeader, settings: LoraSettings, spec: BaseSpec) -> tuple[Pair, ...]:
    """The pairs of an adapter in the base's order; BadAdapter with every error if they do not fit."""
    errors = [finding for finding in layout_findings(header, settings, spec) if finding.severity == "error"]
    if errors:
        raise BadAdapter(errors)
    halves = _halves(header)
    return tuple(
        Pair(module.name, *(halves[module.name][half] for half in "AB"))
        for module in spec.target_modules
        if module.name in halves
    )


def layout_findings(header: TensorHeader, settings: LoraSettings | None, spec: BaseSpec) -> Iterator[Finding]:
    """Every tensor that is no half of a LoRA on a target module, and every pair of the wrong shape or rank.

    Without settings (they could not be read) the declared ranks are not compared.
    """
    yield from _strange_tensors(header, spec)
    halves = _halves(header)
    if not halves:
        yield _error(
            "", "no LoRA tensors", "lora_A and lora_B for at least one module of the base", SAVE_AGAIN
        )
    for name, found in halves.items():
        if name not in spec:
            continue
        if missing := sorted({"A", "B"} - set(found)):
            yield _error(
                f"{name}.lora_{missing[0]}",
                "no such tensor",
                "both halves of every adapted module",
                SAVE_AGAIN,
            )
            continue
        yield from _shape_findings(spec.module(name), found["A"], found["B"])
        if settings is not None:
            yield from _setting_findings(name, found["A"], settings)


def belongs_to(header: TensorHeader, spec: BaseSpec) -> bool:
    """Whether all modules that the tensors name are modules of this base, in its widths."""
    return all(
        module in spec
        and ("A" not in halves or halves["A"].shape[1] == spec.module(module).d_in)
        and ("B" not in halves or halves["B"].shape[0] == spec.module(module).d_out)
        for module, halves in _halves(header).items()
    )


def _halves(header: TensorHeader) -> dict[str, dict[str, TensorEntry]]:
    halves: dict[str, dict[str, TensorEntry]] = {}
    for name, entry in header.tensors.items():
        if match := FACTOR_NAME.fullmatch(name):
            halves.setdefault(match["module"], {})[match["half"]] = entry
    return halves


def _error(field: str, found: str, expected: str, fix: str) -> Finding:
    return Finding(CHECK, "error", TENSOR_FILE, field, found, expected, fix)


def _strange_tensors(header: TensorHeader, spec: BaseSpec) -> Iterator[Finding]:
    """Whatever is not a half of a LoRA on a target module would overwrite something or be lost."""
    for name in header.tensors:
        match = FACTOR_NAME.fullmatch(name)
        if match is None:
            found = reason_for_stranger(name)
            fix = "Save only the LoRA, with PEFT's save_pretrained(..., save_embedding_layers=False)."
            yield _error(
                name,
                found,
                "only tensors named base_model.model.<module>.lora_A.weight and lora_B.weight",
                fix,
            )
        elif match["module"] not in spec:
            expected = f"a module of {spec.name}, such as {spec.target_modules[0].name}"
            yield _error(name, f"the module {match['module']}", expected, OTHER_BASE)


def reason_for_stranger(name: str) -> str:
    """What a tensor that is no LoRA half would be, as far as its name says."""
    if "lora_magnitude_vector" in name:
        return "a DoRA magnitude"
    if "lora_embedding_" in name or "embed" in name or ".wte." in name or ".wpe." in name:
        return "token embeddings, which no expert may change"
    if "lm_head" in name:
        return "the output head, which no expert may change"
    if ".lora_" in name:
        return "a LoRA tensor under a name that PEFT does not write"
    return "a weight of the base itself, which no expert may change"


def _shape_findings(module: TargetModule, a: TensorEntry, b: TensorEntry) -> Iterator[Finding]:
    rank, narrow = a.shape[0], min(module.d_in, module.d_out)
    if a.shape[1] != module.d_in:
        yield _error(
            a.name, f"shape {list(a.shape)}", f"[rank, {module.d_in}], the base's width there", OTHER_BASE
        )
    if b.shape != (module.d_out, rank):
        yield _error(
            b.name,
            f"shape {list(b.shape)}",
            f"[{module.d_out}, {rank}], the base's width and A's rank",
            OTHER_BASE,
        )
    if rank > MAX_RANK:
        yield _error(
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
        yield _error(a.name, f"rank {rank}", f"{declared}, as {CONFIG_FILE} declares", fix)
    elif alpha / rank > MAX_ALPHA_PER_RANK:
        expected = f"at most {MAX_ALPHA_PER_RANK:g} times the rank {rank}"
        fix = "Fold a part of the scale into B."
        yield Finding(CHECK, "error", CONFIG_FILE, f"alpha of {module}", f"{alpha:g}", expected, fix)
