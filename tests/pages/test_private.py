"""The page of a private adapter: who may ask the served model with it, and how."""

import re

from django.test import Client

from hub.adapters import access
from hub.adapters import services as adapters
from tests.hub import making
from tests.pages import content
from tests.pages.conftest import seen_by


def page_of(client: Client) -> str:
    """The words of the private adapter's page."""
    return " ".join(re.sub(r"<[^>]+>", " ", client.get("/ada/secret").content.decode()).split())


def test_who_may_ask_with_a_private_adapter_is_told_how_and_nobody_else_is(
    db: None,
) -> None:
    library, ada = content.found_library(), making.user("ada")
    bob, staff = making.user("bob"), making.user("sue", is_staff=True)
    secret = making.upload(ada, library, "secret", private=True)
    before = page_of(seen_by(ada))
    making.accept(secret)
    access.invite(adapter=secret.adapter, user=bob)

    hers, his, theirs = (page_of(seen_by(who)) for who in (ada, bob, staff))
    adapters.yank(release=secret, by=ada, reason="not yet")

    assert "fletch ask demo &#x27;Hello&#x27; --alone ada/secret" in hers
    assert "answers with it to you and whom you invite, and to nobody else" in hers
    assert "is in no index version. Its owner and whom they invite ask with it" in hers
    assert "answers with it to ada and whom they invite, as you are" in his
    assert not [page for page in (before, theirs, page_of(seen_by(ada))) if "Ask with it" in page]
