"""Which pages there are, for search engines: what everybody may see, a thousand addresses at a time."""

from datetime import datetime

from django.contrib.auth.models import AnonymousUser
from django.contrib.sitemaps import Sitemap
from django.db.models import QuerySet
from django.urls import reverse

from hub.adapters.models import Adapter
from hub.adapters.permissions import visible_adapters
from hub.library.models import Library

ADDRESSES = 1_000  # of one file


class Pages(Sitemap):  # type: ignore[type-arg]  # generic in its stubs alone
    """The few that are always there."""

    def items(self) -> list[str]:
        return ["home", "browse"]

    def location(self, item: str) -> str:
        return reverse(item)


class Libraries(Sitemap):  # type: ignore[type-arg]  # generic in its stubs alone
    limit = ADDRESSES

    def items(self) -> QuerySet[Library]:
        return Library.objects.order_by("slug")

    def location(self, item: Library) -> str:
        return reverse("library", args=[item.slug])


class Adapters(Sitemap):  # type: ignore[type-arg]  # generic in its stubs alone
    limit = ADDRESSES

    def items(self) -> QuerySet[Adapter]:
        shown = visible_adapters(AnonymousUser()).filter(entry__isnull=False).select_related("owner", "entry")
        return shown.only("name", "owner__username", "entry__newest_at").order_by("pk")

    def location(self, item: Adapter) -> str:
        return reverse("adapter", args=[item.owner.username, item.name])

    def lastmod(self, item: Adapter) -> datetime | None:
        return item.entry.newest_at

    def get_latest_lastmod(self) -> None:
        """It would be asked of every adapter, for the list of files alone."""


SECTIONS = {
    "pages": Pages,
    "libraries": Libraries,
    "adapters": Adapters,
}
MAPS = {"sitemaps": SECTIONS}
