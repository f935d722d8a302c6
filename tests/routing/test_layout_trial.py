"""The layout that a trial finds fastest is taken; no test here depends on how fast anything is."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from routing import layout_trial, relaid
from routing.laying_out import lay_out, layouts_of
from routing.layout_trial import PART_BYTES, ROUNDS, Product, Trial, last_cache, part_of, rest_of
from routing.layouts import LAYOUTS, Layout, Shape, Wanted
from routing.relaid import kind_of
from workers.serving.layout_lines import laid_in_words

WIDE, NARROW = Shape(128, 64), Shape(64, 128)
Table = Mapping[Layout, tuple[float, float]]
ON_AN_EPYC: Table = {"stored": (3.0, 8.0), "onednn": (3.2, 5.0), "panels": (1.6, 4.0), "halves": (0.9, 3.0)}


def model() -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(64, 128), nn.Linear(128, 64, bias=False), nn.Linear(64, 128)
    ).requires_grad_(requires_grad=False)


class Pace:
    """A stopwatch that says what a table says, and more where a neighbour was busy."""

    def __init__(self, tables: Mapping[Shape, Table], busy: Mapping[int, float] | None = None) -> None:
        self.tables, self.busy, self.seen = tables, busy or {}, Counter[tuple[Shape, Layout, int]]()

    def __call__(self, product: Product) -> float:
        key = (product.kind.shape, product.layout, product.tokens)
        self.seen[key] += 1
        table = self.tables[product.kind.shape][product.layout]
        return table[layout_trial.TOKENS.index(product.tokens)] * self.busy.get(self.seen[key], 1.0)


def test_each_shape_has_what_is_fastest_for_it() -> None:
    pace = Pace(
        {WIDE: ON_AN_EPYC, NARROW: {"stored": (1.0, 4.0), "onednn": (1.9, 4.1), "panels": (1.8, 4.1)}}
    )
    base = model()

    laid = lay_out(base, stopwatch=pace)

    assert {one.kind.shape: one.layout for one in laid} == {
        WIDE: "panels",
        NARROW: "stored",
    }
    assert isinstance(base[1], nn.Linear)
    assert layouts_of(base)["stored"] == 1


@pytest.mark.parametrize(
    ("seconds", "fastest"),
    [
        (ON_AN_EPYC, "halves"),
        ({"stored": (22.2, 52.7), "onednn": (25.7, 32.2), "panels": (27.9, 32.2)}, "onednn"),
        ({"stored": (1.0, 4.0), "onednn": (1.2, 3.5)}, "stored"),  # what it gains for several, one loses
        ({"stored": (1.0, 1.0), "onednn": (0.97, 0.97), "panels": (0.96, 0.97)}, "stored"),  # as good as
    ],
)
def test_one_token_and_several_count_alike_and_the_plainest_wins_a_tie(
    seconds: Table, fastest: Layout
) -> None:
    assert Trial(seconds).fastest == fastest


def test_a_neighbour_that_is_busy_for_some_rounds_changes_nothing() -> None:
    busy = {1: 40.0, 2: 9.0}  # times as slow in the first and the second round
    table: Table = {"stored": (1.0, 2.0), "onednn": (3.0, 5.0), "panels": (2.5, 5.0)}
    late = Pace({WIDE: table, NARROW: table}, busy)

    laid = lay_out(model(), stopwatch=late, clock=iter(range(100)).__next__)

    assert {one.layout for one in laid} == {"stored"}
    assert set(late.seen.values()) == {ROUNDS[0]}  # the clock says that a second has passed before each


def test_rounds_end_when_there_is_nothing_more_to_learn() -> None:
    pace = Pace({WIDE: ON_AN_EPYC, NARROW: ON_AN_EPYC})

    lay_out(model(), stopwatch=pace, clock=lambda: 0.0)

    assert set(pace.seen.values()) == {ROUNDS[1]}


def test_who_says_a_layout_has_it_without_a_trial() -> None:
    pace = Pace({NARROW: ON_AN_EPYC})
    base = model()

    laid = lay_out(base, Wanted(None, {WIDE: "stored"}), stopwatch=pace)

    assert {shape for shape, _, _ in pace.seen} == {NARROW}
    assert laid[0].layouts == {"stored": 2}
    assert laid[0].trial is None


def test_layers_at_half_the_width_are_tried_so_and_others_of_their_shape_are_not() -> None:
    pace = Pace({WIDE: ON_AN_EPYC, NARROW: ON_AN_EPYC})
    base, x = model(), torch.randn(1, 2, 64)
    for place in (1, 2):
        base[place].weight.data = base[place].weight.data.half().float()
    with torch.inference_mode():
        expected = base(x)
        laid = lay_out(base, stopwatch=pace)

        torch.testing.assert_close(base(x), expected, atol=1e-5, rtol=1e-4)
    assert [(one.kind.shape, one.kind.half, one.layout) for one in laid] == [
        *((WIDE, None, "panels"), (NARROW, torch.float16, "halves"), (WIDE, torch.float16, "halves"))
    ]
    assert {shape for shape, layout, _ in pace.seen if layout == "halves"} == {WIDE, NARROW}
    assert list(laid_in_words(laid))[-1].startswith("`--weights halves` lays them out so")


@pytest.mark.parametrize("wanted", LAYOUTS)
def test_every_layout_answers_the_same_and_who_cannot_have_it_has_the_one_before(wanted: Layout) -> None:
    base, x = model(), torch.randn(1, 2, 64)
    with torch.inference_mode():
        expected = base(x)
        lay_out(base, Wanted(wanted))

        torch.testing.assert_close(base(x), expected, atol=1e-5, rtol=1e-4)
    assert layouts_of(base) == {"panels" if wanted == "halves" else wanted: 3}


def test_a_real_trial_ends_with_layers_that_answer_as_before() -> None:
    base, x = model(), torch.randn(1, 3, 64)
    with torch.inference_mode():
        expected = base(x)
        laid = lay_out(base)

        torch.testing.assert_close(base(x), expected, atol=1e-5, rtol=1e-4)
    assert layouts_of(base).total() == 3
    assert all(
        one.trial is not None and min(min(each) for each in one.trial.seconds.values()) > 0 for one in laid
    )


def test_layouts_that_cannot_be_are_not_timed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def missing(*_: object) -> None:
        raise AttributeError("no such operator")

    monkeypatch.setattr("routing.prepacked.PrepackedLinear.__init__", missing)
    monkeypatch.setattr(relaid, "loops", lambda: None)
    pace = Pace({WIDE: {"stored": (1.0, 1.0)}, NARROW: {"stored": (1.0, 1.0)}})
    base = model()
    with caplog.at_level(logging.WARNING):
        lay_out(base, stopwatch=pace)

    assert {layout for _, layout, _ in pace.seen} == {"stored"}
    assert layouts_of(base) == {"stored": 3}
    assert "a part of 128x64 is not laid out as onednn: no such operator" in caplog.text


@pytest.mark.parametrize("kind", ["linear", "conv1d"])
def test_of_a_large_matrix_a_part_is_tried_that_is_no_copy(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout_trial, "PART_BYTES", 128 * 32 * 4)
    layer = nn.Linear(32, 500) if kind == "linear" else Conv1D(500, 32)
    x = torch.randn(3, 32)

    part = part_of(layer, kind_of(layer))

    assert kind_of(part).shape == Shape(128, 32)
    assert part.weight.data_ptr() == layer.weight.data_ptr()
    torch.testing.assert_close(part(x), layer(x)[:, :128])
    small = nn.Linear(32, 100)
    assert part_of(small, kind_of(small)) is small
    assert PART_BYTES >= 2**20


def test_what_is_walked_through_are_the_other_weights() -> None:
    base = model()
    tried, other = base[0], base.get_parameter("1.weight")

    parts = rest_of(base, [tried], most=10_000)

    assert sum(part.nbytes for part in parts) == 10_000
    assert {part.data_ptr() for part in parts} == {other.data_ptr()}
    assert sum(part.nbytes for part in rest_of(base, [tried], most=2**30)) == 2 * 64 * 128 * 4 + 128 * 4


def test_the_largest_cache_counts(tmp_path: Path) -> None:
    for place, size in enumerate(("32K", "1024K", "32M", "")):
        (tmp_path / f"index{place}").mkdir()
        (tmp_path / f"index{place}" / "size").write_text(f"{size}\n")

    assert last_cache(tmp_path) == 32 * 2**20
    assert last_cache(tmp_path / "nowhere") == layout_trial.UNKNOWN_CACHE


def test_the_log_says_what_was_taken_why_and_how_to_have_it_again() -> None:
    table: Table = {"stored": (0.001, 0.004), "onednn": (0.0019, 0.0041), "panels": (0.0018, 0.0041)}
    pace = Pace({WIDE: ON_AN_EPYC, NARROW: table})

    *lines, last = laid_in_words(lay_out(model(), Wanted(None, {WIDE: "onednn"}), stopwatch=pace))

    assert lines[0] == "weights of 128x64 (outputs x inputs): 2 onednn; as --weights says"
    assert lines[1].startswith(
        "weights of 64x128 (outputs x inputs): 1 stored; 1 token stored 1, onednn 1.9, panels 1.8 ms; 8 tokens "
    )
    assert last == "`--weights stored 128x64=onednn` lays them out so without a trial"
