"""Reports of abuse: who may say what how often, who is told, and how they end."""

import pytest

from hub.accounts.models import User
from hub.adapters.models import Adapter
from hub.errors import Conflict, Invalid
from hub.notifications import queries as notifications
from hub.reports import queries, services
from hub.reports.models import Report
from tests.hub import making

pytestmark = pytest.mark.django_db


@pytest.fixture
def cleo(db: None) -> User:
    return making.user("cleo")


@pytest.fixture
def adapter(ada: User, cleo: User) -> Adapter:
    return making.upload(ada, making.library(maintainer=cleo)).adapter


def told(user: User) -> list[str]:
    return list(notifications.shown(user).values_list("title", flat=True))


def reported(adapter: Adapter, by: User, text: str = "It is mine") -> Report:
    return services.report(adapter=adapter, by=by, reason="rights", text=text)


def test_a_report_is_told_to_the_maintainer_and_its_end_to_whoever_reported(
    adapter: Adapter, cleo: User
) -> None:
    eve = making.user("eve")

    found = reported(adapter, eve)
    services.resolve(found=found, by=cleo, note="It is gone")

    assert told(cleo) == ["ada/poetry was reported"]
    assert told(eve) == ["Your report of ada/poetry was resolved"]
    assert told(adapter.owner) == []


def test_without_a_maintainer_the_staff_is_told(ada: User) -> None:
    staff = making.user("sue", is_staff=True)

    reported(making.upload(ada, making.library()).adapter, making.user("eve"))

    assert told(staff) == ["ada/poetry was reported"]


def test_nobody_reports_twice_what_is_open_but_again_what_was_resolved(adapter: Adapter, cleo: User) -> None:
    eve = making.user("eve")
    found = reported(adapter, eve)

    with pytest.raises(Conflict, match="is open"):
        reported(adapter, eve)
    services.resolve(found=found, by=cleo, note="no")
    with pytest.raises(Conflict, match="already"):
        services.resolve(found=found, by=cleo, note="yes")

    assert reported(adapter, eve).resolved_at is None


def test_nobody_has_more_than_ten_open_reports(adapter: Adapter) -> None:
    eve, library = making.user("eve"), adapter.library
    assert library is not None
    for number in range(services.MOST_OPEN):
        reported(making.upload(adapter.owner, library, f"other-{number}").adapter, eve)

    with pytest.raises(services.TooManyReports):
        reported(adapter, eve)


@pytest.mark.parametrize(("reason", "text"), [("rights", "  "), ("boredom", "It is dull")])
def test_a_report_says_what_is_wrong(adapter: Adapter, reason: str, text: str) -> None:
    with pytest.raises(Invalid):
        services.report(adapter=adapter, by=making.user("eve"), reason=reason, text=text)


def test_maintainers_see_the_reports_of_their_own_libraries(adapter: Adapter, cleo: User) -> None:
    found = reported(adapter, making.user("eve"))
    other = making.user("other")
    making.library("second", maintainer=other)

    assert list(queries.for_desk(cleo)) == [found]
    assert list(queries.for_desk(making.user("sue", is_staff=True))) == [found]
    assert not queries.for_desk(other).exists()
