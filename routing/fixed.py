"""Fixed choices: whom all tokens of an answer choose at each module, said before any is read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from routing.pack import Pack
from routing.routers import Selection


class Fixed(NamedTuple):
    """By module, in the pack's order: experts as rows of their module, and their weights.

    Who has no weight is nobody: at modules that fewer experts touch, or none, the rest of a row is so.
    """

    experts: Int[NDArray[np.int64], "modules k"]
    weights: Float[NDArray[np.float32], "modules k"]


def fixed(pack: Pack, settled: Mapping[str, Selection]) -> Fixed:
    """What is said [1, k] of some of a pack's modules, fetched from its device at once."""
    widest = max((said.experts.shape[1] for said in settled.values()), default=0)
    shape = len(pack.modules), widest
    found = Fixed(np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.float32))
    if settled:
        places = {name: place for place, name in enumerate(pack.modules)}
        rows = [places[name] for name in settled]
        found.experts[rows] = _side_by_side([said.experts for said in settled.values()], widest)
        found.weights[rows] = _side_by_side([said.weights for said in settled.values()], widest)
    return found


def _side_by_side(parts: list[Tensor], widest: int) -> NDArray[np.generic]:
    padded = [functional.pad(part, (0, widest - part.shape[1])) for part in parts]
    array: NDArray[np.generic] = torch.cat(padded).cpu().numpy()
    return array
