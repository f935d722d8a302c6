"""Gates of all experts at once, in competition, on rows that nobody has labelled.

PHATGOOSE trains each expert's gate apart, on that expert's own rows, so no gate ever sees what is not its
task. A collector with rows of their own can let the gates compete for every token: the step that the paper's
author names as the next one. At each module the update is the experts' mixture by softmax over
standardised(x).g / sqrt(d), the score by which gates are compared when they serve (`routing.scores.gate`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import Parameter, functional

from routing.base import Base
from routing.frozen import unchanged
from routing.gates import GateRecipe
from routing.pack import ModulePack, Pack, standardised
from routing.rows import Row
from routing.training import Course, Progress, fit, silent
from routing.weights import layers_of


def compete(
    base: Base,
    pack: Pack,
    rows: Sequence[Row],
    *,
    recipe: GateRecipe | None = None,
    progress: Progress = silent,
) -> tuple[dict[str, dict[str, Float[Tensor, " d_in"]]], Course]:
    """Train the gates of all experts of `pack` in one run; base and experts stay as they are.

    The gates by expert and module, as `compose` takes them, and how the training went. Experts of every kind
    compete: what they do through the base's weight is mixed as it is when they serve. Raises BadRows.
    """
    gates = zero_gates(pack)
    with unchanged(base, _numbers(pack)), competing(base, pack, gates):
        best, course = fit(base, gates, rows, recipe or GateRecipe(), progress)
    return by_expert(pack, best), course


def zero_gates(pack: Pack) -> dict[str, Parameter]:
    """For each module a row [experts, d_in] of zeros: every expert has the same share of every token."""
    return {
        name: Parameter(torch.zeros_like(module.vectors.prototypes)) for name, module in pack.modules.items()
    }


@contextlib.contextmanager
def competing(base: Base, pack: Pack, gates: Mapping[str, Parameter]) -> Iterator[None]:
    """Let every expert speak at every module by the share that its gate wins there."""
    with contextlib.ExitStack() as hooks:
        layers = layers_of(base)
        for name, module in pack.modules.items():
            layer, added = base.model.get_submodule(name), _mixture(module, gates[name], layers(name).weight)
            hooks.callback(layer.register_forward_hook(added).remove)
        yield


def _mixture(
    module: ModulePack, gates: Parameter, weight: Float[Tensor, "d_out d_in"]
) -> Callable[[Any, Any, Tensor], Tensor]:
    owners = module.owners.clone()  # a pack that has served remembers it as a tensor without gradients

    def add(_layer: Any, inputs: tuple[Tensor], output: Tensor) -> Tensor:
        x = inputs[0]
        weights = mixing_weights(x, gates)
        shares = functional.pad(weights, (0, 1))  # the last: nobody's rows
        inside = (x @ module.a.T) * shares[..., owners].to(x.dtype)
        mixed = output + inside @ module.b
        return mixed if module.scaled is None else mixed + module.scaled.shared(x, output, weights, weight)

    return add


def _numbers(pack: Pack) -> dict[str, Tensor]:
    """All that the experts are made of, of which nothing is to change."""
    found: dict[str, Tensor] = {}
    for name, module in pack.modules.items():
        tables = {} if module.scaled is None else module.scaled.tables
        found |= {
            f"{name}.{part}": tensor for part, tensor in {"a": module.a, "b": module.b, **tables}.items()
        }
    return found


def mixing_weights(
    hidden: Float[Tensor, "*tokens d_in"], gates: Float[Tensor, "experts d_in"]
) -> Float[Tensor, "*tokens experts"]:
    """Shares of the experts in each token, in float32."""
    scores = standardised(hidden.float()) @ gates.T * hidden.shape[-1] ** -0.5
    return scores.softmax(-1)


def by_expert(pack: Pack, gates: Mapping[str, Tensor]) -> dict[str, dict[str, Float[Tensor, " d_in"]]]:
    """The gates as `routing.composed.compose` takes them: by expert, then by module."""
    found: dict[str, dict[str, Tensor]] = {name: {} for name in pack.experts}
    for name, module in pack.modules.items():
        for row, member in enumerate(module.members):
            found[pack.experts[member]][name] = gates[name][row]
    return found
