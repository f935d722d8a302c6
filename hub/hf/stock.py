"""What is stored already, and to whom that is said: knowing a digest is no way to somebody's private file."""

from django.db.models import Exists, OuterRef, Q

from hub.accounts.models import User
from hub.adapters.models import CommitFile
from hub.adapters.permissions import readable_adapters
from hub.blobs.models import Blob
from hub.hf.models import Brought


def bring(user: User, blob: Blob) -> None:
    """Note that somebody sent these bytes."""
    Brought.objects.get_or_create(user=user, blob=blob)


def known(user: User, sha256: str) -> Blob | None:
    """The blob of this digest, if this person sent it or may read it in some adapter."""
    files = CommitFile.objects.filter(blob=OuterRef("pk"), commit__adapter__in=readable_adapters(user))
    open_files = files.filter(
        Q(commit__adapter__owner=user)
        | Q(commit__examined_as=None)
        | Q(commit__examined_as__quarantined_at=None)
    )
    sent = Brought.objects.filter(blob=OuterRef("pk"), user=user)
    return Blob.objects.filter(Q(Exists(sent)) | Q(Exists(open_files)), pk=sha256).first()
