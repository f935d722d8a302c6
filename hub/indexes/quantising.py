"""Merged weights in fewer bits: for which bases there are such, and how large they are.

As `routing.quantised` rounds them, which the hub does not import.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hub.indexes.merging import Called

# By bits, how many numbers of a row share a scale: the first that fits all layers (None: the row).
GROUPS: dict[int, tuple[int | None, ...]] = {8: (None,), 4: (128, 64, 32)}
OF_A_SHAPE = 16  # bytes: each packed weight is kept with its shape
Modules = Sequence[Mapping[str, Any]]


def check_bits(base: Mapping[str, Any], bits: object, called: Called = str) -> list[str]:
    """Complaints about weights of this base, as a library describes it, in so many bits, `called` as readers
    know the option.
    """
    spoken = called("bits")
    if not isinstance(bits, int) or bits not in GROUPS:
        return [f"{spoken} is {bits!r}; expected {' or '.join(map(str, GROUPS))}"]
    if base.get("family", "causal") != "causal":
        return [
            f"{spoken}: the base is an encoder-decoder, whose weights are not packed; leave them as they are"
        ]
    modules: Modules = base.get("target_modules", ())
    odd = next((module for module in modules if module["kind"] != "linear"), None)
    if odd is not None:
        what = f"{odd['name']} of the base is a {odd['kind']} layer"
        return [f"{spoken}: {what}, and only linear ones can be packed; leave them as they are"]
    if not _groups(modules, bits):
        smallest = GROUPS[bits][-1]
        odd = next(module for module in modules if module["d_in"] % (smallest or 1))
        what = f"{odd['name']} of the base has {odd['d_in']} inputs"
        return [f"{spoken}: {what}, and {bits} bits need a multiple of {smallest}; take 8"]
    return []


def saved(modules: Modules, bits: int, *, each: int) -> int:
    """The bytes that rounding saves where a weight was stored in `each`."""
    group = _groups(modules, bits)[0]
    whole: int = sum(module["d_in"] * module["d_out"] for module in modules)
    scales: int = sum(
        module["d_out"] * (1 if group is None else module["d_in"] // group) for module in modules
    )
    return whole * each - whole * bits // 8 - scales * each - len(modules) * OF_A_SHAPE


def _groups(modules: Iterable[Mapping[str, Any]], bits: int) -> list[int | None]:
    """Those that fit all layers, the largest first."""
    widths = {module["d_in"] for module in modules}
    return [group for group in GROUPS[bits] if all(width % (group or 1) == 0 for width in widths)]
