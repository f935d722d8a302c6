"""Finding libraries."""

from collections.abc import Sequence
from pathlib import PurePosixPath

from django.db.models import QuerySet

from hub.errors import Invalid, NotFound
from hub.library.models import Library


def libraries() -> QuerySet[Library]:
    return Library.objects.select_related("current", "maintainer").order_by("slug")


def library(slug: str) -> Library:
    """Raises NotFound."""
    found = libraries().filter(slug=slug).first()
    if found is None:
        raise NotFound(f"there is no library {slug}")
    return found


def library_for(bases: Sequence[str], *, called: object = None) -> Library:
    """Where an adapter belongs whose files name these base models: the library that it asks for, the only one
    on such a base, or the only one that there is. Raises Invalid with the choices.
    """
    ready = list(libraries().filter(status=Library.Status.READY, cluster_trainings=None))
    if called is not None:
        fitting = [one for one in ready if one.slug == called]
    else:
        fitting = [one for one in ready if any(_is_base_of(one, base) for base in bases)] or ready
    if len(fitting) == 1:
        return fitting[0]
    said = f"library {called!r}" if called is not None else f"base model {', '.join(bases) or 'of no name'}"
    choices = ", ".join(f"{one.slug} ({one.public_base})" for one in ready) or "none yet"
    raise Invalid(
        f"README.md, field fletch_library: this adapter's {said} does not say to which library of this hub "
        f"it belongs. Expected one of: {choices}. Add the line `fletch_library: NAME` to the front matter of "
        "the README and send it together with the adapter."
    )


def fits_somewhere(bases: Sequence[str]) -> bool:
    """Whether a library grows on one of these base models."""
    return any(_is_base_of(one, base) for one in Library.objects.all() for base in bases)


def _is_base_of(library: Library, named: str) -> bool:
    """The same id, or folders of the same name: a base lies elsewhere on every machine."""
    ours = library.base_source.rstrip("/")
    theirs = named.replace("\\", "/").rstrip("/")
    return ours == theirs or PurePosixPath(ours).name.lower() == PurePosixPath(theirs).name.lower()
