"""The numbers of an upload: finite, not nothing, and of a size that an update of this base can have."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from routing.adapter import Adapter, Dora, read_adapter, read_tensor
from routing.checks.tensors import header_of
from routing.errors import BadAdapter, UpdateNotFinite
from routing.factors import Factors, expert_factors
from routing.finding import Finding
from routing.spec import BaseSpec
from routing.tensor_header import TensorHeader
from routing.tensor_names import TENSOR_FILE

# The largest singular value of the update over that of the base's weight. Honest small experts had a median
# of 0.3 and a maximum of 1.2; what is ten times the base drowns it, and every other expert of a mixture.
UNUSUAL_NORM = 2.0
IMPLAUSIBLE_NORM = 10.0
# Below this share at every module the update is lost in the rounding of the base.
NEGLIGIBLE_NORM = 1e-6


FactorsOf = Callable[[Adapter], Mapping[str, Factors]]


def run_number_checks(
    directory: Path, spec: BaseSpec, factors_of: FactorsOf = expert_factors
) -> list[Finding]:
    """Every finding about the values of the PEFT folder `directory`.

    `factors_of` brings the adapter into canonical form; kinds that work through the base's weight need one
    that has the base at hand (see `expert_factors`).
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
    findings = list(_magnitudes(adapter))
    return findings or list(_sizes(adapter, spec, factors_of))


def _non_finite(path: Path, header: TensorHeader) -> Iterator[Finding]:
    """One NaN in one tensor makes every answer NaN. Tensors are looked at one at a time."""
    for entry in header.tensors.values():
        bad = int((~read_tensor(path, entry, header.data_start).isfinite()).sum())
        if bad:
            fix = "The training diverged: train again with a lower learning rate."
            found = f"{bad} values that are NaN or infinite"
            yield Finding("finite", "error", TENSOR_FILE, entry.name, found, "finite numbers", fix)


def _magnitudes(adapter: Adapter) -> Iterator[Finding]:
    """A DoRA's magnitudes are the lengths of rows."""
    for name, update in adapter.modules.items():
        if not isinstance(update, Dora):
            continue
        bad = int((update.magnitude <= 0).sum())
        if bad:
            found = (
                f"{bad} lengths that are zero or negative, the smallest {float(update.magnitude.min()):.3g}"
            )
            fix = "The training diverged: train again with a lower learning rate."
            field = f"{name}.lora_magnitude_vector"
            yield Finding("magnitude", "error", TENSOR_FILE, field, found, "lengths above zero", fix)


def _sizes(adapter: Adapter, spec: BaseSpec, factors_of: FactorsOf) -> Iterator[Finding]:
    try:
        expert = factors_of(adapter)
    except UpdateNotFinite as error:
        expected = "an update whose every row has a length"
        yield Finding("finite", "error", TENSOR_FILE, "", str(error), expected, "Train a plain LoRA there.")
        return
    shares = {
        name: float(factors.leading.sigma[0]) / max(spec.module(name).spectral_norm, sys.float_info.min)
        for name, factors in expert.items()
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
