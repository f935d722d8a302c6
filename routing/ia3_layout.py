"""Which module of the base each vector of an (IA)^3 belongs to, and what it scales: by names and shapes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from routing.errors import BadAdapter
from routing.finding import Finding
from routing.ia3_config import Ia3Settings
from routing.spec import BaseSpec, TargetModule
from routing.tensor_header import TensorEntry, TensorHeader
from routing.tensor_names import OTHER_BASE, SAVE_AGAIN, module_and_part, reason_for_stranger, tensor_error

IA3_PART = "ia3_l"


@dataclass(frozen=True)
class ScaleEntry:
    """The vector of one module: [1, d_in] where it scales inputs, [d_out, 1] where it scales outputs."""

    module: str
    scale: TensorEntry
    on_input: bool


def scale_entries(header: TensorHeader, settings: Ia3Settings, spec: BaseSpec) -> tuple[ScaleEntry, ...]:
    """The vectors of an adapter in the base's order; BadAdapter with every error if they do not fit."""
    errors = [*ia3_layout_findings(header, settings, spec)]
    if errors:
        raise BadAdapter(errors)
    scales = _scales(header)
    return tuple(
        ScaleEntry(module.name, scales[module.name], settings.scales_input(module.name))
        for module in spec.target_modules
        if module.name in scales
    )


def ia3_layout_findings(
    header: TensorHeader, settings: Ia3Settings | None, spec: BaseSpec
) -> Iterator[Finding]:
    """Every tensor that is no vector of an (IA)^3 on a target module, and every vector of another shape.

    Without settings (they could not be read) a vector may be of either shape.
    """
    scales = _scales(header)
    if not any(module in spec for module in scales):
        yield tensor_error("", "no (IA)^3 vectors", "ia3_l for at least one module of the base", SAVE_AGAIN)
    for name in header.tensors:
        if module_and_part(name, [IA3_PART]) is None:
            expected = "only tensors named base_model.model.<module>.ia3_l"
            fix = "Save only the (IA)^3, with PEFT's save_pretrained(..., save_embedding_layers=False)."
            yield tensor_error(name, reason_for_stranger(name), expected, fix)
    for module, entry in scales.items():
        if module not in spec:
            expected = f"a module of {spec.name}, such as {spec.target_modules[0].name}"
            yield tensor_error(entry.name, f"the module {module}", expected, OTHER_BASE)
        else:
            yield from _shape_findings(spec.module(module), entry, settings)


def ia3_fits(header: TensorHeader, spec: BaseSpec) -> bool:
    """Whether all modules that the tensors name are modules of this base, in its widths."""
    return all(
        module in spec and entry.shape in _shapes(spec.module(module), None)
        for module, entry in _scales(header).items()
    )


def _scales(header: TensorHeader) -> dict[str, TensorEntry]:
    found = {name: module_and_part(name, [IA3_PART]) for name in header.tensors}
    return {of[0]: header.tensors[name] for name, of in found.items() if of is not None}


def _shapes(module: TargetModule, settings: Ia3Settings | None) -> tuple[tuple[int, int], ...]:
    """The shapes that a module's vector may have."""
    on_input, on_output = (1, module.d_in), (module.d_out, 1)
    if settings is None:
        return on_input, on_output
    return (on_input,) if settings.scales_input(module.name) else (on_output,)


def _shape_findings(
    module: TargetModule, entry: TensorEntry, settings: Ia3Settings | None
) -> Iterator[Finding]:
    shapes = _shapes(module, settings)
    if entry.shape in shapes:
        return
    place = "input, by feedforward_modules" if shapes[0][0] == 1 else "output"
    expected = f"{' or '.join(str(list(shape)) for shape in shapes)}, a factor for each {place}"
    yield tensor_error(entry.name, f"shape {list(entry.shape)}", expected, OTHER_BASE)
