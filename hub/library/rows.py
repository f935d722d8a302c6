"""The collector's own rows: given by a library's maintainer, read by workers alone, deleted when asked."""

from pathlib import Path

from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now

from hub.accounts.models import User
from hub.blobs import services as blobs
from hub.errors import Invalid, TooLarge
from hub.library.models import CollectorRows, Library


def current(library: Library) -> CollectorRows | None:
    """The rows that gates are trained on now."""
    return CollectorRows.objects.filter(library=library, deleted_at=None).first()


def keep(*, library: Library, file: Path, by: User | None) -> CollectorRows:
    """Move a JSONL file to the place of the rows before it. Raises Invalid, TooLarge, StorageFull.

    Workers parse it as strangers' data; here only its size and its lines are counted.
    """
    size, most = file.stat().st_size, settings.LIMITS.samples_bytes
    if size > most:
        raise TooLarge(f"The rows have {size:,} bytes; they may have {most:,}.")
    with file.open("rb") as lines:
        count = sum(1 for line in lines if line.strip())
    if not count:
        raise Invalid("the file has no rows; expected one JSON object a line")
    blob = blobs.store_file(file)
    with transaction.atomic():
        Library.objects.select_for_update(no_key=True).get(pk=library.pk)
        known = current(library)
        if known is not None and known.sha256 == blob.sha256:
            return known
        _forget(library)
        return CollectorRows.objects.create(
            library=library, blob=blob, sha256=blob.sha256, lines=count, by=by
        )


@transaction.atomic
def delete(*, library: Library) -> bool:
    """Forget the rows; their bytes go at the next garbage collection. False when there are none."""
    Library.objects.select_for_update(no_key=True).get(pk=library.pk)
    return _forget(library)


def _forget(library: Library) -> bool:
    kept = CollectorRows.objects.filter(library=library, deleted_at=None)
    return bool(kept.update(deleted_at=Now(), blob=None))
