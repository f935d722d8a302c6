"""Finding libraries."""

from django.db.models import QuerySet

from hub.errors import NotFound
from hub.library.models import Library


def libraries() -> QuerySet[Library]:
    return Library.objects.select_related("current", "maintainer").order_by("slug")


def library(slug: str) -> Library:
    """Raises NotFound."""
    found = libraries().filter(slug=slug).first()
    if found is None:
        raise NotFound(f"there is no library {slug}")
    return found
