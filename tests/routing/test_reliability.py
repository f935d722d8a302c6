"""Reliability: what was stated of a class against how often it was right, counted one row at a time."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from routing.classifier import train_classifier
from routing.reliability import BINS, Bin, reliability
from tests.routing.test_classifier import neutral, profile


@given(seed=st.integers(0, 999), rows=st.integers(1, 40), classes=st.integers(2, 5))
def test_every_row_is_in_one_bin_of_every_class(seed: int, rows: int, classes: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    stated = (4 * torch.randn(rows, classes, generator=draw, dtype=torch.float64)).softmax(1)
    truth = torch.randint(classes, (rows,), generator=draw)

    found = reliability(stated, truth)

    for label, bins in enumerate(found):
        assert sum(one.rows for one in bins) == rows
        assert sum(one.own for one in bins) == int((truth == label).sum())
        for one in bins:
            inside = [
                row for row in range(rows) if one.at / BINS < float(stated[row, label]) <= (one.at + 1) / BINS
            ]
            assert one.rows == len(inside)
            assert abs(one.stated - float(stated[inside, label].mean())) < 1e-4
            assert one.own == int((truth[inside] == label).sum())


def test_what_is_always_kept_lies_on_the_diagonal() -> None:
    stated = torch.tensor([[0.75, 0.25]] * 4 + [[0.0, 1.0]] * 2, dtype=torch.float64)
    truth = torch.tensor([0, 0, 0, 1, 1, 1])

    first, second = reliability(stated, truth)

    assert first == (Bin(0, 2, 0.0, 0), Bin(7, 4, 0.75, 3))
    assert second == (Bin(2, 4, 0.25, 1), Bin(9, 2, 1.0, 2))


def test_a_classifier_reports_it_of_each_expert_on_the_rows_that_were_held_out() -> None:
    profiles = {"b/two": profile(2), "a/one": profile(1), "c/few": profile(3, rows=4)}

    _head, report = train_classifier(profiles, neutral(), encoder="base:1")

    assert list(report.reliability) == ["a/one", "b/two"]
    for bins in report.reliability.values():
        assert sum(one.rows for one in bins) == report.held_out
        assert sum(one.own for one in bins) == 4  # a fifth of twenty
