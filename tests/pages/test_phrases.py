"""Numbers, sizes and times as people say them."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from django.template import Context, Template

from hub.pages import phrases, stock

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (1024, "1.0 KiB"),
        (1_572_864, "1.5 MiB"),
        (2 * 1024**3, "2.0 GiB"),
        (5 * 1024**5, "5120.0 TiB"),
    ],
)
def test_sizes(number: int, said: str) -> None:
    assert phrases.size(number) == said


@pytest.mark.parametrize(
    ("passed", "said"),
    [
        (timedelta(0), "just now"),
        (timedelta(seconds=1), "1 second ago"),
        (timedelta(minutes=5), "5 minutes ago"),
        (timedelta(hours=23), "23 hours ago"),
        (timedelta(days=2), "2 days ago"),
        (timedelta(days=400), "on 25 Jan 2025"),
        (timedelta(days=-3), "in 3 days"),
        (timedelta(days=-90), "on 30 May 2026"),
    ],
)
def test_moments(passed: timedelta, said: str) -> None:
    assert phrases.ago(NOW - passed, now=NOW) == said


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.2, "under a second"), (59, "59 s"), (61, "1 min 1 s"), (7260, "2 h 1 min")]
)
def test_durations(seconds: float, said: str) -> None:
    assert phrases.duration(seconds) == said


def test_counts_part_their_thousands() -> None:
    assert phrases.count(1_234_567) == "1,234,567"


@pytest.mark.parametrize(
    ("share", "said"), [(0.00123, "0.12 %"), (0.994, "99 %"), (0.998, "over 99 %"), (1.0, "100 %")]
)
def test_shares(share: float, said: str) -> None:
    assert phrases.as_share(share) == said


@pytest.mark.parametrize(
    ("value", "said"), [(0.000123456, "0.000123"), (7, "7"), (None, "\N{EN DASH}"), ("nan", "nan")]
)
def test_measurements(value: object, said: str) -> None:
    assert phrases.compact(value) == said


@pytest.mark.parametrize(
    ("figure", "said"), [(0.31, "+0.310"), (-0.07, "\N{MINUS SIGN}0.070"), (-0.0004, "+0.000")]
)
def test_differences_have_a_sign_and_nought_is_not_less_than_itself(figure: float, said: str) -> None:
    assert phrases.signed(figure, digits=3) == said


@pytest.mark.parametrize(
    ("stock_text", "said"),
    [
        ("  Add Email Address\n", "Add email address"),
        ("Two-Factor Authentication", "Two-factor authentication"),
        ("Use WebAuthn or a TOTP", "Use WebAuthn or a TOTP"),
    ],
)
def test_what_comes_with_allauth_begins_as_sentences_do(stock_text: str, said: str) -> None:
    assert stock.sentence(stock_text) == said


def test_how_long_ago_it_was_is_read_by_itself_whichever_way_the_page_runs() -> None:
    said = Template("{% load fletch %}{% moment at %}").render(Context({"at": NOW}))

    assert re.search(r'<time datetime="[^"]+" title="[^"]+" dir="auto">', said)
