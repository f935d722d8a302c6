"""The calibration of an expert on its page: drawn where something was measured, and said why where not."""

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from hub.indexes import queries
from hub.indexes.models import PromptClassifier
from hub.pages.reliability import of_release, reliability
from tests.pages.content import Content
from tests.pages.learnt import add_what_is_learnt
from tests.pages.test_what_pages_say import text

BINS = [
    {"at": 0, "rows": 90, "stated": 0.01, "own": 0},
    {"at": 6, "rows": 5, "stated": 0.65, "own": 4},
    {"at": 9, "rows": 5, "stated": 0.97, "own": 5},
]


def test_the_error_is_the_mean_gap_weighted_by_prompts() -> None:
    found = reliability(3, BINS)

    assert (found.prompts, found.own) == (100, 9)
    assert found.error == pytest.approx((90 * 0.01 + 5 * 0.15 + 5 * 0.03) / 100)
    assert found.likely is not None
    assert (found.likely.prompts, found.likely.own) == (10, 9)
    assert found.likely.stated == pytest.approx(0.81)


def test_intervals_hold_the_share_and_are_wide_for_few() -> None:
    few, sure = reliability(3, BINS).bins[1:]

    assert 0.0 < few.least < few.share < few.most < 1.0
    assert few.most - few.least > 0.5
    assert [sure.share, sure.most] == pytest.approx([1.0, 1.0])
    assert sure.least < 0.6  # five of five may be luck


def test_it_is_drawn_and_said_in_words_and_as_a_table(made: Content) -> None:
    add_what_is_learnt(made)

    page = text(Client(), f"/{made.ready.adapter.full_name}")

    assert "over 88 prompts that it was not trained on, 10 of them from this expert" in page
    assert "Of the 9 for which it stated a half or more, 88% on average, 8 were its own" in page
    assert "which agrees with what it stated" in page
    assert "0.9 and 1.0 5 0.970 5 (100%)" in page
    assert "Only a classifier of prompts states a probability." in page
    assert "gates are compared by their directions alone" in page
    assert Client().get(f"/{made.ready.adapter.full_name}").content.decode().count('class="diagonal"') == 1


def test_where_there_is_none_the_page_says_why(made: Content) -> None:
    assert "No classifier of prompts was trained for this library yet" in of_release(made.ready).why_not
    add_what_is_learnt(made)
    version = queries.newest(made.library)
    assert version is not None
    without = queries.experts(version)[-1]

    assert "does not know it" in of_release(without).why_not
    assert "has no gates in use" in text(Client(), f"/{made.long.adapter.full_name}")
    PromptClassifier.objects.update(reliability=None)
    assert "was trained before this was measured" in of_release(made.ready).why_not


def test_only_the_expert_s_own_part_is_read(made: Content) -> None:
    add_what_is_learnt(made)
    assert made.ready.library == made.library  # read already, as on the page

    with CaptureQueriesContext(connection) as asked:
        found = of_release(made.ready).found

    assert found is not None
    assert len(asked) == 1
    with CaptureQueriesContext(connection) as versions:
        Client().get("/libraries/demo/versions")
    assert not any("reliability" in query["sql"] for query in versions)
