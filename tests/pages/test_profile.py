"""What a profile says of a person's contributions: by day and library, and nothing that is private to others."""

from datetime import date, timedelta

import pytest

from hub.adapters.models import Release
from hub.pages import contributions
from tests.hub import making
from tests.pages.conftest import seen_by


def test_a_year_is_drawn_as_weeks_that_begin_on_mondays() -> None:
    first = date(2026, 1, 5)  # a Monday
    last = first + timedelta(days=8)

    drawn = contributions.drawn({first: 1, last: 9}, first=first, last=last)

    assert [(day.level, day.label) for day in (drawn.days[0], drawn.days[-1])] == [
        (1, "1 release on 5 Jan 2026"),
        (4, "9 releases on 13 Jan 2026"),
    ]
    assert drawn.days[7].y == drawn.days[0].y
    assert drawn.days[7].x > drawn.days[6].x
    assert drawn.total == 10


@pytest.mark.django_db
def test_private_releases_count_for_those_alone_who_may_know_of_them() -> None:
    ada, library = making.user("ada"), making.library(name="Tiny tales")
    making.upload(ada, library)
    making.upload(ada, library, "secret", private=True)
    Release.objects.update(created_at="2020-01-01T00:00:00Z")
    making.upload(ada, library, "prose")

    hers, others = (seen_by(who).get("/ada").content.decode() for who in (ada, making.user("eve")))

    assert ("1 release in the last year" in hers, "1 release in the last year" in others) == (True, True)
    assert "3 adapters</dd>" in hers
    assert "2 adapters</dd>" in others
    assert "secret" not in others
