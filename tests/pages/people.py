"""More to look at: an organisation, and what waits at a maintainer's desk."""

from hub.accounts import organisations
from hub.accounts.models import User
from hub.adapters.models import Release
from hub.reports import services as reports
from hub.reports.models import Report
from tests.hub import making


def organisation(ada: User, cleo: User, bob: User) -> None:
    """One with a member of each kind, and somebody who has not answered yet."""
    rhymes = organisations.found(name="rhymes", by=ada)
    organisations.invite(organisation=rhymes, user=cleo, role="maintainer", by=ada)
    organisations.accept(organisation=rhymes, user=cleo)
    organisations.invite(organisation=rhymes, user=bob, role="member", by=ada)


def held_back(release: Release) -> Release:
    """A release that the hub itself holds back."""
    making.accept(release, doubts=[making.DOUBT])
    release.refresh_from_db()
    return release


def reported(release: Release) -> Report:
    """A report that nobody has read."""
    text = "The weights are those of another adapter of mine, which is not for others to publish."
    return reports.report(adapter=release.adapter, by=making.user("eve"), reason="rights", text=text)
