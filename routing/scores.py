"""Scores: how much each expert has to do with each token, at one target module.

A score is a function of the hidden states and the module's experts, in float32. Some are of one scale for
all experts by construction, others become so in deviations from their mean on neutral text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from jaxtyping import Float
from torch import Tensor

from routing.errors import RoutingError
from routing.pack import ModulePack, standardised

Score = Callable[[Tensor, ModulePack], Tensor]


def arrow(hidden: Float[Tensor, "tokens d_in"], module: ModulePack) -> Float[Tensor, "tokens experts"]:
    """Arrow (arXiv 2405.11157): |v.x| of the raw input with each prototype."""
    _require_here("vectors", absent=module.vectors.absent)
    return (hidden.float() @ module.vectors.prototypes.T).abs_()


def gate(hidden: Float[Tensor, "tokens d_in"], module: ModulePack) -> Float[Tensor, "tokens experts"]:
    """PHATGOOSE (arXiv 2402.05859): both input and gate standardised over their entries, v.x / sqrt(d).

    An expert without a gate scores minus infinity.
    """
    _require_here("vectors", absent=module.vectors.absent)
    scores = standardised(hidden.float()) @ module.vectors.gates.T * hidden.shape[-1] ** -0.5
    return scores.nan_to_num(nan=-torch.inf, posinf=-torch.inf, neginf=-torch.inf)


def subspace(hidden: Float[Tensor, "tokens d_in"], module: ModulePack) -> Float[Tensor, "tokens experts"]:
    """How much of the input lies in what an expert reads: |V^T x| (SpectR, as its code has it).

    Without calibration an expert of higher rank catches more of any input.
    """
    return _lengths(hidden.float(), module, weighted=False)


def delta_norm(hidden: Float[Tensor, "tokens d_in"], module: ModulePack) -> Float[Tensor, "tokens experts"]:
    """How much an expert would change the output: |dW x|, which is |S V^T x| in canonical form.

    Without calibration a louder expert wins.
    """
    return _lengths(hidden.float(), module, weighted=True)


def _lengths(
    hidden: Float[Tensor, "tokens d_in"], module: ModulePack, *, weighted: bool
) -> Float[Tensor, "tokens experts"]:
    """The length of the input inside each expert, its directions weighted by their singular values or not.

    An update of full rank is measured in the leading directions that are kept of it.
    """
    _require_here("factors", absent=module.bare)
    coordinates = hidden @ module.a.float().T
    if weighted:
        coordinates = coordinates * module.sigma
    squares = coordinates.new_zeros(len(coordinates), len(module) + 1)  # the last: nobody's rows
    squares.index_add_(1, module.owners, coordinates.square())
    if module.scaled is not None:
        module.scaled.add_squares(squares, hidden, weighted=weighted)
    return squares[:, :-1].sqrt()


def _require_here(what: str, *, absent: bool) -> None:
    """RoutingError where it is absent: products with tensors without memory are numbers all the same."""
    if absent:
        raise RoutingError(f"found experts whose {what} are not in memory, expected them to be read")


SCORES: Mapping[str, Score] = MappingProxyType(
    {"arrow": arrow, "gate": gate, "subspace": subspace, "delta-norm": delta_norm}
)
FROM_VECTORS = frozenset({"arrow", "gate"})  # scores that need no factors


def calibrated(
    kind: str, hidden: Float[Tensor, "tokens d_in"], module: ModulePack
) -> Float[Tensor, "tokens experts"]:
    """The score in deviations from its mean on neutral text; RoutingError if that was never measured."""
    if kind not in module.moments:
        raise RoutingError(f"scores of kind {kind!r} are not calibrated in this index version")
    moments = module.moments[kind]
    return (SCORES[kind](hidden, module) - moments.mean) / moments.deviation


def evidence(hidden: Float[Tensor, "tokens d_in"], module: ModulePack) -> Float[Tensor, "tokens experts"]:
    """Gate or prototype, whichever an expert has, each calibrated, so that both kinds can be compared."""
    if not module.any_gate:
        return calibrated("arrow", hidden, module)
    learnt = calibrated("gate", hidden, module)
    return torch.where(module.gated, learnt, calibrated("arrow", hidden, module))
