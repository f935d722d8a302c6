"""Charts put every number where it belongs, and survive what statistics may lack."""

from itertools import pairwise

import pytest

from hub.pages import charts, curves
from tests.pages import content

MODULES = content.statistics(1)["modules"]


def test_the_spectrum_has_a_line_per_kind_that_falls_from_one() -> None:
    chart = charts.spectrum(MODULES)

    assert chart is not None
    assert [line.name for line in chart.lines] == sorted(content.KINDS)
    for line in chart.lines:
        heights = [dot.y for dot in line.dots]
        assert heights[0] == charts.TOP
        assert heights == sorted(heights)


def test_the_heat_chart_has_a_row_per_kind_and_a_cell_per_layer() -> None:
    chart = charts.norms(MODULES)

    assert chart is not None
    assert [(row.name, len(row.cells)) for row in chart.rows] == [
        (kind, content.LAYERS) for kind in sorted(content.KINDS)
    ]
    assert max(float(cell.opacity) for row in chart.rows for cell in row.cells) == 1


def test_layers_that_an_adapter_leaves_alone_are_shown_as_such() -> None:
    chart = charts.norms({"model.layers.0.q": {"norm": 1.0}, "model.layers.3.q": {"norm": 2.0}})

    assert chart is not None
    assert [cell.absent for cell in chart.rows[0].cells] == [False, True, True, False]


def test_no_statistics_make_no_chart() -> None:
    assert charts.spectrum({}) is None
    assert charts.norms({}) is None
    assert charts.spectrum({"a": {"rank": 0, "sigma": [], "norm": 0.0}}) is None


def test_numbers_that_were_not_finite_and_became_null_are_survived() -> None:
    modules: dict[str, dict[str, object]] = {
        "model.layers.0.q": {"sigma": [None, 1.0], "norm": None},
        "model.layers.1.q": {"sigma": [1.0, None], "norm": 1.0},
    }

    assert charts.norms(modules) is not None
    charts.spectrum(modules)


def test_modules_without_a_layer_number_share_layer_nought() -> None:
    assert charts.layer_and_kind("transformer.h.11.attn.c_attn") == (11, "attn.c_attn")
    assert charts.layer_and_kind("proj") == (0, "proj")


@pytest.mark.parametrize("layers", [1, 2, 12, 80, 126])
def test_layers_share_the_room_that_there_is_and_their_labels_do_not_touch(layers: int) -> None:
    chart = charts.norms(content.statistics(2, layers=layers)["modules"])

    assert chart is not None
    assert max(cell.x for cell in chart.rows[0].cells) + chart.cell_width <= 100
    narrow = 300  # pixels
    for one, next_one in pairwise(chart.x_ticks):
        assert (next_one.at - one.at) / 100 * narrow > charts.LETTER * len(next_one.label)


def test_every_other_label_may_go_only_where_there_are_many() -> None:
    few = curves.curve(["0", "400"], {"a": [2.0, 1.0]})
    many = curves.curve([str(day) for day in range(24)], {"a": [0.1 * day for day in range(24)]})

    assert (few.is_crowded, many.is_crowded) == (False, True)


def test_lines_stay_in_the_room_that_there_is() -> None:
    curve = curves.curve([str(day) for day in range(30)], {"a": [0.1 * day for day in range(30)]})
    spectrum = charts.spectrum(MODULES)

    assert spectrum is not None
    for chart in (curve, spectrum):
        assert all(0 < dot.x < 100 for line in chart.lines for dot in line.dots)
        assert all(0 < tick.at < 100 for tick in chart.x_ticks)
        assert chart.label_width >= max(len(tick.label) for tick in chart.y_ticks) * 7


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        ([0.0], ["0 %", "25 %"]),
        ([0.013, 0.021], ["0 %", "1 %", "2 %", "3 %"]),
    ],
)
def test_an_axis_of_shares_begins_at_zero_and_holds_every_value(
    values: list[float], labels: list[str]
) -> None:
    chart = curves.curve([str(place) for place in range(len(values))], {"a": values}, percent=True)

    assert [tick.label for tick in chart.y_ticks] == labels
    assert all(charts.TOP <= dot.y <= charts.BOTTOM for dot in chart.lines[0].dots)


def test_an_axis_of_losses_has_round_numbers_around_them() -> None:
    chart = curves.curve(["0", "10", "20"], {"a": [2.31, 1.9, 1.62], "b": [2.4, 2.2, 2.2]})

    assert [tick.label for tick in chart.y_ticks] == ["1.6", "1.8", "2", "2.2", "2.4"]
    assert [line.name for line in chart.lines] == ["a", "b"]
