"""Addresses of parts of pages: our scripts get the part, and whoever opens one is led to its page."""

from hub.library import queries
from tests.pages import ablated
from tests.pages.conftest import seen_by
from tests.pages.content import Content

BY_SCRIPT = {"X-Requested-With": "XMLHttpRequest"}


def parts(made: Content) -> dict[str, str]:
    """The address of each part, and of the page that it is a part of."""
    release = f"/{made.running.adapter.full_name}/releases/{made.running.oid}"
    checkpoint = f"/checkpoints/{made.composing.pk}"
    current = queries.library(made.library.slug).current
    assert current is not None
    run = ablated.asked(current, made.maintainer, "questions").pk
    contributions = f"/libraries/{made.library.slug}/versions/{current.number}/contributions"
    return {
        f"{release}/course": release,
        f"{checkpoint}/composing": checkpoint,
        f"{contributions}/{run}/progress": f"{contributions}?run={run}",
    }


def test_a_script_is_given_the_part_that_the_page_asks_for(made: Content) -> None:
    visitor = seen_by(made.maintainer)

    for address, page in parts(made).items():
        part = visitor.get(address, headers=BY_SCRIPT).content.decode()
        assert part.startswith("<div"), address
        assert f'data-live="{address}"' in visitor.get(page).content.decode(), address


def test_whoever_opens_its_address_is_led_to_the_page(made: Content) -> None:
    visitor = seen_by(None)

    for address, page in parts(made).items():
        answer = visitor.get(address)
        assert (answer.status_code, answer.headers.get("Location")) == (302, page)
        assert "X-Requested-With" in answer.headers["Vary"]
