"""The bell, the page of notifications, and the choice of what one is told."""

import pytest

from hub.notifications import queries
from hub.notifications.models import Kind
from tests.hub import making
from tests.pages.conftest import seen_by

pytestmark = pytest.mark.django_db


def test_what_is_told_rings_the_bell_until_it_is_followed() -> None:
    ada, library = making.user("ada"), making.library()
    release = making.ready(ada, library)
    making.ready(ada, library, "prose")
    visitor = seen_by(ada)
    first = queries.shown(ada).order_by("pk")[0]

    before = visitor.get("/").content.decode()
    followed = visitor.get(f"/notifications/{first.pk}")
    after = visitor.get("/notifications").content.decode()
    visitor.post("/notifications/read", {"up_to": str(queries.shown(ada)[0].pk)})

    assert ": 2 unread" in before
    assert followed["Location"] == f"/ada/poetry/releases/{release.oid}"
    assert ": 1 unread" in after
    assert after.count("Unread: </span>") == 1
    assert "unread</span>" not in visitor.get("/").content.decode()


def test_a_choice_is_kept_and_shown_again() -> None:
    ada = making.user("ada")
    visitor = seen_by(ada)

    visitor.post("/settings/notifications", {"ready-by_email": "on", "asked-in_page": "on"})

    chosen = queries.preferences(ada)
    assert (chosen[Kind.READY].in_page, chosen[Kind.READY].by_email) == (False, True)
    assert (chosen[Kind.ASKED].in_page, chosen[Kind.ASKED].by_email) == (True, False)
    page = visitor.get("/settings/notifications").content.decode()
    assert page.count("checked") == 2


@pytest.mark.parametrize("number", ["", "0", "-1", "x", "9" * 30, "²"])
def test_nonsense_marks_nothing(number: str) -> None:
    ada = making.user("ada")
    making.ready(ada, making.library())

    answer = seen_by(ada).post("/notifications/read", {"number": number, "up_to": number})

    assert answer.status_code == 302
    assert queries.unread_count(ada) == 1
