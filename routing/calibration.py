"""Calibration: each expert's scores measured on neutral text, so that those of strangers can be compared.

An expert's mean and deviation depend on the base, the text and itself alone: what one index version has
measured the next takes over.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float64, Int
from torch import Tensor

from routing.evidence import usual_evidence
from routing.pack import SMALLEST_DEVIATION, ModulePack, Moments, Pack, only
from routing.routed import RoutedModel
from routing.scores import FROM_VECTORS, SCORES
from routing.surveys import survey_neutral


def calibrated_pack(
    model: RoutedModel, pack: Pack, tokens: Int[Tensor, "sequences length"], *, neutral: str
) -> Pack:
    """The pack with what is measured on this text, whose digest is `neutral`: moments and usual evidence.

    What experts have of this text they keep; only the others are measured. Of a pack with an excerpt that
    alone is measured.
    """
    if pack.excerpt is not None:
        measured = calibrated_pack(model, pack.judging, tokens, neutral=neutral)
        excerpt = replace(pack.excerpt, pack=measured)
        return replace(pack, excerpt=excerpt, neutral=neutral, text=tokens, usual=measured.usual)
    found = with_moments(model, pack, tokens, neutral=neutral)
    known = pack.usual if pack.neutral == neutral else None
    return replace(found, usual=usual_evidence(model, found, tokens, known))


def with_moments(
    model: RoutedModel, pack: Pack, tokens: Int[Tensor, "sequences length"], *, neutral: str
) -> Pack:
    """The pack with every expert's moments of every kind of score on this text, whose digest is `neutral`.

    Experts that have moments of this text keep them; only the others are measured. Of a bare pack the kinds
    that need factors are left out.
    """
    unknown = _unmeasured(pack) if pack.neutral == neutral else set(range(len(pack.experts)))
    strangers = replace(pack, modules=only(pack, unknown))
    found = measure(model, strangers, tokens) if unknown else {}
    modules = dict(pack.modules)
    for name, moments in found.items():
        modules[name] = _told(pack.modules[name], moments, strangers.modules[name].members)
    return replace(pack, modules=modules, neutral=neutral, text=tokens)


def measure(
    model: RoutedModel, pack: Pack, tokens: Int[Tensor, "sequences length"]
) -> Mapping[str, Mapping[str, Moments]]:
    """By module and kind of score: mean and deviation of every expert's score, in float64 sums."""
    sums: dict[tuple[str, str], Float64[Tensor, "2 experts"]] = {}
    counts: Counter[str] = Counter()

    def look(name: str, hidden: Tensor, module: ModulePack) -> None:
        counts[name] += len(hidden)
        for kind in _kinds(pack):
            scores = SCORES[kind](hidden, module).double()
            both = torch.stack([scores.sum(0), scores.square().sum(0)])
            sums[name, kind] = sums[name, kind] + both if (name, kind) in sums else both

    survey_neutral(model, pack, tokens, look)
    return {
        name: {kind: _moments(sums[name, kind], counts[name]) for kind in _kinds(pack)}
        for name in pack.modules
    }


def _kinds(pack: Pack) -> Iterable[str]:
    """The kinds of score that can be taken of what the pack holds."""
    return FROM_VECTORS if pack.bare else SCORES


def _moments(sums: Float64[Tensor, "2 experts"], count: int) -> Moments:
    """An expert without a finite score (it has no gate, say) gets a mean of zero, which nobody reads."""
    mean, mean_of_squares = (sums / count).nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
    deviation = (mean_of_squares - mean.square()).clamp_min(0).sqrt().clamp_min(SMALLEST_DEVIATION)
    return Moments(mean.float(), deviation.float())


def _unmeasured(pack: Pack) -> set[int]:
    """The places of the experts that lack a moment in some module."""
    unknown: set[int] = set()
    kinds = _kinds(pack)
    for module in pack.modules.values():
        known = torch.ones(len(module), dtype=torch.bool, device=module.device)
        for kind in kinds:
            known &= module.moments[kind].mean.isfinite() if kind in module.moments else False
        unknown |= {member for member, sure in zip(module.members, known.tolist(), strict=True) if not sure}
    return unknown


def _told(module: ModulePack, found: Mapping[str, Moments], members: Sequence[int]) -> ModulePack:
    """The module with what was measured of these members."""
    rows = [module.rows_by_member[member] for member in members]
    moments = {}
    for kind, of_members in found.items():
        nothing = torch.full_like(module.vectors.prototypes[:, 0], torch.nan)
        mean, deviation = (part.clone() for part in module.moments.get(kind, (nothing, nothing)))
        mean[rows], deviation[rows] = of_members
        moments[kind] = Moments(mean, deviation)
    return replace(module, moments=moments)
