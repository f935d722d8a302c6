"""The numbers of an upload: finite, not nothing, and of a size that an update of this base can have."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from routing.adapter import Adapter, read_adapter, read_tensor
from routing.checks.tensors import header_of
from routing.errors import BadAdapter
from routing.factors import expert_factors
from routing.finding import Finding
from routing.lora_layout import TENSOR_FILE
from routing.spec import BaseSpec
from routing.tensor_header import TensorHeader

# The largest singular value of the update over that of the base's weight. Honest small experts had a median
# of 0.3 and a maximum of 1.2; what is ten times the base drowns it, and every other expert of a mixture.
UNUSUAL_NORM = 2.0
IMPLAUSIBLE_NORM = 10.0
# Below this share at every module the update is lost in the rounding of the base.
NEGLIGIBLE_NORM = 1e-6


def run_number_checks(directory: Path, spec: BaseSpec) -> list[Finding]:
    """Every finding about the values of the PEFT folder `directory`.

    Works on as much as can be read: what keeps the file from being read is for the static checks to say.
    """
    header = header_of(directory)
    if header is None:
        return []
    findings = list(_non_finite(directory / TENSOR_FILE, header))
    if findings:
        return findings
    try:
        adapter = read_adapter(directory, spec)
    except BadAdapter:
        return []
    return list(_sizes(adapter, spec))


def _non_finite(path: Path, header: TensorHeader) -> Iterator[Finding]:
    """One NaN in one tensor makes every answer NaN. Tensors are looked at one at a time."""
    for entry in header.tensors.values():
        bad = int((~read_tensor(path, entry, header.data_start).isfinite()).sum())
        if bad:
            fix = "The training diverged: train again with a lower learning rate."
            found = f"{bad} values that are NaN or infinite"
            yield Finding("finite", "error", TENSOR_FILE, entry.name, found, "finite numbers", fix)


def _sizes(adapter: Adapter, spec: BaseSpec) -> Iterator[Finding]:
    shares = {
        name: float(factors.sigma[0]) / max(spec.module(name).spectral_norm, sys.float_info.min)
        for name, factors in expert_factors(adapter).items()
    }
    largest = max(shares.values(), default=0.0)
    if largest < NEGLIGIBLE_NORM:
        fix = "A fresh LoRA has B = 0: train it, and save it after training."
        found = f"an update of at most {largest:.1g} of the base's weights"
        yield Finding("norm", "error", TENSOR_FILE, "", found, "an update that changes something", fix)
    for name, share in shares.items():
        found = f"{share:.3g} times the base's largest singular value"
        fix = "Check lora_alpha and the learning rate."
        if share > IMPLAUSIBLE_NORM:
            expected = f"at most {IMPLAUSIBLE_NORM:g} times"
            yield Finding("norm", "error", TENSOR_FILE, name, found, expected, fix)
        elif share > UNUSUAL_NORM:
            expected = f"usually below {UNUSUAL_NORM:g} times"
            yield Finding("norm", "warning", TENSOR_FILE, name, found, expected, fix)
