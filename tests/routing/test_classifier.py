"""The classifier against dense references in float64, and where its probabilities come from."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from routing.classifier import (
    TooFewPrompts,
    calibration_error,
    discriminant,
    held_out,
    standard,
    train_classifier,
)
from routing.digests import digest_of
from routing.objects import FolderStore
from routing.profiles import Profile
from routing.store import IndexStore

WIDTH = 12


def cloud(seed: int, rows: int, *, spread: float = 0.3) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    centre = torch.randn(WIDTH, generator=draw) * 2
    return centre + spread * torch.randn(rows, WIDTH, generator=draw)


def profile(seed: int, rows: int = 20, encoder: str = "base:1") -> Profile:
    return Profile("words", encoder, torch.ones(WIDTH), cloud(seed, rows))


def neutral(rows: int = 40) -> Tensor:
    return 2 * torch.randn(rows, WIDTH, generator=torch.Generator().manual_seed(99))


@given(counts=st.lists(st.integers(2, 30), min_size=2, max_size=4), seed=st.integers(0, 99))
def test_the_head_orders_classes_as_gaussians_of_one_covariance_do(counts: list[int], seed: int) -> None:
    x = torch.cat([cloud(seed + place, count) for place, count in enumerate(counts)]).double()
    labels = torch.tensor([place for place, count in enumerate(counts) for _ in range(count)])

    weight, bias = discriminant(x, labels, len(counts))

    means = torch.stack([x[labels == place].mean(0) for place in range(len(counts))])
    within = [
        torch.cov(x[labels == place].T, correction=0).reshape(WIDTH, WIDTH) for place in range(len(counts))
    ]
    pooled = torch.stack(within).mean(0)
    covariance = 0.9 * pooled + 0.1 * pooled.diagonal().mean() * torch.eye(WIDTH, dtype=torch.float64)
    distances = torch.stack(
        [((x - mean) @ torch.linalg.inv(covariance) * (x - mean)).sum(1) for mean in means], dim=1
    )
    torch.testing.assert_close(
        (x @ weight.T + bias).softmax(1), (-distances / 2).softmax(1), atol=1e-6, rtol=1e-6
    )


def test_a_class_counts_the_same_however_many_prompts_it_has() -> None:
    x = torch.cat([cloud(1, 10), cloud(2, 10)]).double()
    labels = torch.tensor([0] * 10 + [1] * 10)
    more = torch.cat([x, x[labels == 0].repeat(9, 1)])

    once = discriminant(x, labels, 2)
    often = discriminant(more, torch.cat([labels, torch.zeros(90, dtype=torch.int64)]), 2)

    torch.testing.assert_close(once, often)


def test_prompts_like_an_experts_own_are_given_to_it_and_neutral_text_to_nobody() -> None:
    profiles = {"b/two": profile(2), "a/one": profile(1), "c/three": profile(3)}

    head, report = train_classifier(profiles, neutral(400), encoder="base:1")

    assert head.experts == ("a/one", "b/two", "c/three")
    for row, seed in enumerate((1, 2, 3)):
        said = head.log_probabilities(cloud(seed, 50)[20:])
        assert (said.argmax(1) == row).double().mean() == 1.0
    fresh = 2 * torch.randn(50, WIDTH, generator=torch.Generator().manual_seed(5))
    assert (head.log_probabilities(fresh).argmax(1) == 3).double().mean() > 0.7
    torch.testing.assert_close(head.log_probabilities(fresh).exp().sum(1), torch.ones(50))
    assert (report.classes, report.rows, report.accuracy) == (3, 460, 1.0)


def test_equal_inputs_give_equal_bytes_in_any_order(tmp_path: Path) -> None:
    profiles = {"a/one": profile(1), "b/two": profile(2)}
    store = IndexStore(FolderStore(tmp_path))

    first = store.put_classifier(train_classifier(profiles, neutral(), encoder="base:1")[0])
    again = store.put_classifier(
        train_classifier(dict(reversed(profiles.items())), neutral(), encoder="base:1")[0]
    )

    assert first == again
    head = store.read_classifier(first[0])
    assert store.put_classifier(head) == first
    assert digest_of(store.objects.read(first[0])) == first[0]


def test_who_has_few_prompts_or_those_of_another_encoder_is_no_class() -> None:
    profiles = {"a/one": profile(1), "b/few": profile(2, rows=4), "c/other": profile(3, encoder="base:9")}

    with pytest.raises(TooFewPrompts, match="found 1 experts"):
        train_classifier(profiles, neutral(), encoder="base:1")

    head, _report = train_classifier({**profiles, "d/four": profile(4)}, neutral(), encoder="base:1")
    assert head.experts == ("a/one", "d/four")


def test_the_report_is_about_rows_that_the_reported_head_never_saw() -> None:
    """Labels that are chance: a head that had seen its held-out rows would look good on them."""
    noise = torch.randn(90, WIDTH, generator=torch.Generator().manual_seed(3))
    profiles = {f"a/{place}": Profile("x", "base:1", noise[0], noise[place::3]) for place in range(3)}

    _head, report = train_classifier(profiles, neutral(), encoder="base:1")

    assert report.accuracy < 0.7
    assert report.calibration_error < 0.4


def test_of_every_class_some_rows_are_held_out() -> None:
    labels = torch.tensor([0] * 50 + [1] * 5 + [2] * 10)

    held = held_out(labels)

    assert torch.bincount(labels[held]).tolist() == [10, 1, 2]
    assert torch.equal(held, held_out(labels))


def test_the_calibration_error_is_the_gap_between_confidence_and_accuracy() -> None:
    sure = torch.tensor([[0.95, 0.05]] * 4 + [[0.45, 0.55]] * 4, dtype=torch.float64)
    truth = torch.tensor([0, 0, 0, 1, 1, 0, 1, 0])

    found = calibration_error(sure, truth)

    assert found == pytest.approx((4 * abs(0.95 - 0.75) + 4 * abs(0.55 - 0.5)) / 8)


def test_standard_embeddings_have_length_one_whatever_their_size() -> None:
    rows, centre, scale = cloud(1, 5), torch.ones(WIDTH), torch.full((WIDTH,), 2.0)

    found = standard(rows, centre, scale)

    torch.testing.assert_close(found.norm(dim=1), torch.ones(5))
    torch.testing.assert_close(found[0], torch.nn.functional.normalize((rows[0] - 1) / 2, dim=0))
