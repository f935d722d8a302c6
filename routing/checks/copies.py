"""Copies: an expert that is another one again takes a share of its tokens, however it was rewritten.

Rescaling, other factorings, half precision, padding and renaming leave the update's direction as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from jaxtyping import Float32
from torch import Tensor

from routing.factors import Factors, cosine, fingerprint
from routing.finding import Finding
from routing.tensor_names import TENSOR_FILE
from routing.weights import Layers

COPY = 0.99
RELATED = 0.8
# Fingerprints estimate the cosine; what is estimated below this is not compared exactly.
SHORT_LIST = 0.4


@dataclass(frozen=True)
class KnownExpert:
    """A release that is already there: its fingerprint, and how to read its factors if they are needed."""

    adapter: str
    release: str
    fingerprint: Float32[Tensor, "1024"]
    read_factors: Callable[[], Mapping[str, Factors]]


def run_copy_checks(
    factors: Mapping[str, Factors],
    known: Iterable[KnownExpert],
    *,
    adapter: str,
    layers: Layers | None = None,
) -> list[Finding]:
    """Findings about other adapters' releases that this expert repeats; `adapter` is whose it is.

    Where one of two experts works through the base's weight, its `layers` are needed to compare them.
    """
    others = (expert for expert in known if expert.adapter != adapter)
    return sorted(_alike(factors, others, layers), key=lambda finding: finding.severity)


def _alike(
    factors: Mapping[str, Factors], others: Iterable[KnownExpert], layers: Layers | None
) -> Iterator[Finding]:
    sketch = fingerprint(factors)
    for other in others:
        if float(sketch @ other.fingerprint) < SHORT_LIST:
            continue
        likeness = cosine(factors, other.read_factors(), layers)
        found = f"cosine {likeness:.4f} to {other.adapter} at {other.release[:12]}"
        if likeness >= COPY:
            fix = "It is the same expert, perhaps rescaled or saved anew: propose the change to its owner."
            yield Finding("copy", "error", TENSOR_FILE, "", found, f"below {COPY}", fix)
        elif likeness >= RELATED:
            fix = "Say in the card how the two are related."
            yield Finding("copy", "warning", TENSOR_FILE, "", found, f"below {RELATED}", fix)
