"""The classifier: a linear head over embeddings of prompts that says which expert a prompt is for.

Trained on the sample prompts that contributors gave, with neutral text as one class more: nobody's. The head
is the linear discriminant of Gaussian classes with one covariance (Fisher), in closed form: every class
counts the same, however many prompts it has, and equal inputs give equal bytes. What was held out says how
often it is right and how far its probabilities can be believed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor
from torch.nn import functional

from routing.errors import RoutingError
from routing.profiles import Profile
from routing.reliability import BINS, Bin, reliability

FEWEST_PROMPTS = 5  # an expert with fewer is no class
SHRINKAGE = 0.1  # of the covariance towards a multiple of the identity
HELD_OUT = 0.2
SEED = 0
TEMPERATURES = tuple(2.0**step for step in range(9))  # a head is often surer than it is right, never less
SMALLEST_DEVIATION = 1e-3


class TooFewPrompts(RoutingError):
    """There are not two experts with enough sample prompts, so there is nothing to tell apart."""


@dataclass(frozen=True)
class Classifier:
    """A trained head, float32. Row i of `weight` belongs to `experts[i]`, the last one to nobody."""

    encoder: str
    experts: tuple[str, ...]
    centre: Float[Tensor, " width"]
    scale: Float[Tensor, " width"]
    weight: Float[Tensor, "classes width"]
    bias: Float[Tensor, " classes"]

    def log_probabilities(
        self, embeddings: Float[Tensor, "prompts width"]
    ) -> Float[Tensor, "prompts classes"]:
        """Of every class for each prompt, from raw embeddings."""
        x = standard(embeddings, self.centre, self.scale)
        return (x @ self.weight.to(x).T + self.bias.to(x)).log_softmax(-1)


@dataclass(frozen=True)
class ClassifierReport:
    """What the held-out rows say: of a head that was trained on the others alone.

    `reliability` has for each expert how far the probability can be believed that a prompt is for it. The
    temperature was chosen on the same rows, so all of it is a little kinder than new prompts would be.
    """

    classes: int
    rows: int
    held_out: int
    accuracy: float
    calibration_error: float
    nobody_recall: float
    temperature: float
    reliability: Mapping[str, Sequence[Bin]]


def train_classifier(
    profiles: Mapping[str, Profile], neutral: Float[Tensor, "texts width"], *, encoder: str
) -> tuple[Classifier, ClassifierReport]:
    """The head for the experts that have prompts embedded by `encoder`, and its report; TooFewPrompts."""
    usable = {
        name: profile.prompts
        for name, profile in sorted(profiles.items())
        if profile.encoder == encoder and len(profile.prompts) >= FEWEST_PROMPTS
    }
    if len(usable) < 2:  # noqa: PLR2004 - one is told from none by no classifier
        raise TooFewPrompts(f"found {len(usable)} experts with {FEWEST_PROMPTS} sample prompts, expected two")
    neutral = neutral.cpu().float()
    centre, scale = neutral.mean(0), neutral.std(0, correction=0).clamp_min(SMALLEST_DEVIATION)
    parts = [standard(rows, centre, scale).double() for rows in (*usable.values(), neutral)]
    x = torch.cat(parts)
    labels = torch.tensor([label for label, part in enumerate(parts) for _ in part])
    held = held_out(labels)
    weight, bias = discriminant(x[~held], labels[~held], len(parts))
    logits = x[held] @ weight.T + bias
    temperature = best_temperature(logits, labels[held])
    report = _report(logits / temperature, labels, held, temperature, experts=tuple(usable))
    weight, bias = discriminant(x, labels, len(parts))
    head = Classifier(
        encoder, tuple(usable), centre, scale, (weight / temperature).float(), (bias / temperature).float()
    )
    return head, report


def standard(
    embeddings: Float[Tensor, "rows width"], centre: Float[Tensor, " width"], scale: Float[Tensor, " width"]
) -> Float[Tensor, "rows width"]:
    """Embeddings in deviations from neutral text, entry by entry, of length one."""
    return functional.normalize((embeddings.float() - centre.to(embeddings)) / scale.to(embeddings), dim=-1)


def discriminant(
    x: Float64[Tensor, "rows width"], labels: Int[Tensor, " rows"], classes: int
) -> tuple[Float64[Tensor, "classes width"], Float64[Tensor, " classes"]]:
    """Fisher's linear discriminant with equal priors: w_c = S^-1 m_c, b_c = -m_c.w_c / 2.

    S is the mean over classes of the covariance within a class, shrunk towards a multiple of the identity.
    """
    counts = torch.bincount(labels, minlength=classes).double().unsqueeze(1)
    means = torch.zeros(classes, x.shape[1], dtype=x.dtype).index_add_(0, labels, x) / counts
    inside = (x - means[labels]) / (classes * counts[labels]).sqrt()
    covariance = inside.T @ inside
    size = covariance.diagonal().mean()
    ridge = SHRINKAGE * size * torch.eye(len(covariance), dtype=x.dtype)
    weight = torch.linalg.solve((1 - SHRINKAGE) * covariance + ridge, means.T).T
    return weight, -(weight * means).sum(1) / 2


def held_out(labels: Int[Tensor, " rows"]) -> Tensor:
    """Which rows are held out: of every class the same share, at least one, by a seeded draw."""
    draw = torch.Generator().manual_seed(SEED)
    held = torch.zeros(len(labels), dtype=torch.bool)
    for label in labels.unique().tolist():
        rows = (labels == label).nonzero().flatten()
        order = torch.randperm(len(rows), generator=draw)
        held[rows[order[: max(1, round(HELD_OUT * len(rows)))]]] = True
    return held


def best_temperature(logits: Float64[Tensor, "rows classes"], labels: Int[Tensor, " rows"]) -> float:
    """The temperature under which the held-out labels are likeliest."""
    losses = [float(functional.cross_entropy(logits / one, labels)) for one in TEMPERATURES]
    return TEMPERATURES[losses.index(min(losses))]


def calibration_error(probabilities: Float64[Tensor, "rows classes"], labels: Int[Tensor, " rows"]) -> float:
    """Expected calibration error (Guo et al., arXiv 1706.04599, section 2): confidence against accuracy.

    In bins of equal width, weighted by how many rows fall into each.
    """
    confidence, said = probabilities.max(1)
    right = (said == labels).double()
    bins = (confidence * BINS).ceil().clamp(1, BINS)
    gaps: Sequence[Tensor] = [
        (confidence[bins == one].sum() - right[bins == one].sum()).abs() for one in range(1, BINS + 1)
    ]
    return float(torch.stack(list(gaps)).sum() / len(labels))


def _report(
    logits: Float64[Tensor, "held classes"],
    labels: Int[Tensor, " rows"],
    held: Tensor,
    temperature: float,
    *,
    experts: Sequence[str],
) -> ClassifierReport:
    truth, said = labels[held], logits.argmax(1)
    somebodys = truth < logits.shape[1] - 1
    right = (said == truth).double()
    probabilities = logits.softmax(1)
    return ClassifierReport(
        classes=logits.shape[1] - 1,
        rows=len(labels),
        held_out=int(held.sum()),
        accuracy=float(right[somebodys].mean()),
        calibration_error=calibration_error(probabilities, truth),
        nobody_recall=float(right[~somebodys].mean()),
        temperature=temperature,
        reliability=dict(zip(experts, reliability(probabilities, truth), strict=False)),
    )
