"""Evidence: what prototypes say of a prompt, by token and expert, and usually say of neutral text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor

from routing.pack import SMALLEST_DEVIATION, ModulePack, Moments, Pack, only
from routing.routed import RoutedModel
from routing.scores import Score, calibrated
from routing.surveys import ROWS_AT_ONCE, survey

# Chosen on development tasks of two worlds, see docs/decisions/0010-default-routing.md.
HALF_LIFE = 3.0  # tokens: what stands so far before another one says half as much of what is asked
REACH = 128  # tokens: what stands before them would count for less than 1e-12 of what is asked
AT_ONCE = 4 * 2**20  # numbers by token and expert that are held at a time while a text is measured
CALIBRATED: Score = partial(calibrated, "arrow")


@dataclass(frozen=True)
class Evidence:
    """By prompt, token and expert: the sum of its modules' calibrated scores, and how many gave one."""

    total: Float[Tensor, "prompts length experts"]
    seen: Float[Tensor, "length experts"]


def recent_evidence(
    model: RoutedModel, pack: Pack, prompt: Sequence[int], *, score: Score = CALIBRATED
) -> Float[Tensor, " experts"]:
    """The mean over modules and tokens, the last tokens first: by half less every `HALF_LIFE` tokens.

    NaN for an expert without a module. However long the prompt is, scores of its last `REACH` tokens alone
    are worked out, one module after the other. A decoder that has only begun has read the last token.
    """
    device = model.base.device
    weights = 0.5 ** (torch.arange(REACH - 1, -1, -1, device=device) / HALF_LIFE)
    total, seen = torch.zeros(2, len(pack.experts), device=device)

    def look(_name: str, hidden: Tensor, module: ModulePack) -> None:
        last = hidden[-REACH:]
        by_age = weights[-len(last) :].to(last.device)
        members = module.member_ids.to(device)
        total[members] += (by_age @ score(last, module)).to(device)
        seen[members] += by_age.sum().to(device)

    survey(model, pack, torch.tensor([list(prompt)]), look)
    return total / seen


def in_deviations(recent: Float[Tensor, " experts"], usual: Moments) -> Float[Tensor, " experts"]:
    """Recent evidence in deviations from its mean at a neutral token; minus infinity without a module."""
    return ((recent - usual.mean) / usual.deviation).nan_to_num(nan=-torch.inf)


def usual_evidence(
    model: RoutedModel, pack: Pack, text: Int[Tensor, "sequences length"], known: Moments | None = None
) -> Moments:
    """Mean and deviation [experts] of evidence at one token of a text, over the tokens that have some.

    An expert's depends on its own calibrated scores alone, so what is `known` is kept; a mean of NaN says
    that an expert's is not.
    """
    unmeasured = torch.full((len(pack.experts),), torch.nan, device=model.base.device)
    mean, deviation = (part.clone() for part in known or (unmeasured, unmeasured))
    unknown = mean.isnan()
    strangers = {place for place, lacking in enumerate(unknown.tolist()) if lacking}
    if strangers:
        found = _measured(model, replace(pack, modules=only(pack, strangers)), text)
        mean[unknown], deviation[unknown] = found.mean[unknown], found.deviation[unknown]
    return Moments(mean, deviation)


def _measured(model: RoutedModel, pack: Pack, text: Int[Tensor, "sequences length"]) -> Moments:
    """The same of every expert in the pack's modules; a mean of NaN for the others."""
    count = torch.zeros(len(pack.experts), dtype=torch.float64, device=model.base.device)
    sums = count.new_zeros(2, len(pack.experts))
    for rows in text.split(min(ROWS_AT_ONCE, max(1, AT_ONCE // (text.shape[1] * len(pack.experts))))):
        found = evidence_by_token(model, pack, rows)
        each = (found.total / found.seen).double()
        count += len(rows) * (found.seen > 0).sum(0)
        sums += torch.stack([each.nansum((0, 1)), each.square().nansum((0, 1))])
    mean, squares = sums / count
    deviation = (squares - mean.square()).clamp_min(0).sqrt().clamp_min(SMALLEST_DEVIATION)
    return Moments(mean.float(), deviation.float())


def evidence_by_token(
    model: RoutedModel, pack: Pack, tokens: Int[Tensor, "prompts length"], *, score: Score = CALIBRATED
) -> Evidence:
    """What each module says of each token and expert. A decoder that has only begun has read the last one."""
    length = tokens.shape[1]
    total = torch.zeros(len(tokens), length, len(pack.experts), device=model.base.device)
    seen = torch.zeros(length, len(pack.experts), device=model.base.device)

    def look(_name: str, hidden: Tensor, module: ModulePack) -> None:
        scores = score(hidden, module).view(len(tokens), -1, len(module)).to(total.device)
        members = module.member_ids.to(total.device)
        total[:, length - scores.shape[1] :, members] += scores
        seen[length - scores.shape[1] :, members] += 1

    survey(model, pack, tokens, look)
    return Evidence(total, seen)
