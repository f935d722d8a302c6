"""How much one person or organisation may keep here, and how much they do: every file once, however often it
is named.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from django.conf import settings
from django.db import connection
from django.db.models import QuerySet, Sum

from hub.accounts.models import User
from hub.adapters.models import Adapter, Commit, CommitFile, Release
from hub.blobs.models import Blob
from hub.errors import OverQuota

# What `_kept` says of one person, of many of them at once. The union names each file of a person once.
USED = """
SELECT kept.owner, SUM(size) FROM (
    SELECT owner_id AS owner, blob_id AS named FROM {file}
        JOIN {commit} ON {commit}.id = commit_id JOIN {adapter} ON {adapter}.id = {commit}.adapter_id
        WHERE deleted_at IS NULL {only}
    UNION
    SELECT owner_id, samples_id FROM {release} JOIN {adapter} ON {adapter}.id = adapter_id
        WHERE deleted_at IS NULL AND samples_id IS NOT NULL {only}
) AS kept JOIN {blob} ON sha256 = named GROUP BY kept.owner
"""


@dataclass(frozen=True)
class Storage:
    """Bytes of one person."""

    used: int
    quota: int

    @property
    def left(self) -> int:
        return max(0, self.quota - self.used)


def storage_of(user: User) -> Storage:
    """The files and sample rows of all adapters that this person has not deleted."""
    return Storage(_kept(user).aggregate(size=Sum("size"))["size"] or 0, quota_of(user))


def quota_of(user: User) -> int:
    """What this person may keep: everybody's share, unless the staff said another."""
    return settings.LIMITS.user_quota_bytes if user.quota_bytes is None else user.quota_bytes


def storages_of(users: Sequence[User]) -> dict[User, Storage]:
    """`storage_of` of several accounts, by one question."""
    numbers = [user.pk for user in users]
    places = ", ".join(["%s"] * len(numbers))
    used = _used(f"AND owner_id IN ({places})", [*numbers, *numbers]) if users else {}
    return {user: Storage(used.get(user.pk, 0), quota_of(user)) for user in users}


def used_by_owner() -> dict[int, int]:
    """Bytes by the number of the person who keeps them: one question about all files of the hub."""
    return _used("", [])


def _used(only: str, parameters: Sequence[int]) -> dict[int, int]:
    named = {
        "adapter": Adapter._meta.db_table,  # noqa: SLF001  Django's documented way to a table's name
        "commit": Commit._meta.db_table,  # noqa: SLF001
        "file": CommitFile._meta.db_table,  # noqa: SLF001
        "release": Release._meta.db_table,  # noqa: SLF001
        "blob": Blob._meta.db_table,  # noqa: SLF001
    }
    with connection.cursor() as cursor:
        cursor.execute(USED.format(**named, only=only), parameters)
        return {owner: int(size) for owner, size in cursor.fetchall()}


def check_room(user: User, sizes: Mapping[str, int]) -> None:
    """May these files {sha256: size} come too? What is this person's already weighs nothing. Raises
    OverQuota.
    """
    mine = set(_kept(user).filter(pk__in=list(sizes)).values_list("pk", flat=True))
    check_room_for(user, sum(size for sha256, size in sizes.items() if sha256 not in mine))


def check_room_for(user: User, size: int) -> None:
    """Before anything is known but how much it is. Raises OverQuota."""
    storage = storage_of(user)
    if size > storage.left:
        raise OverQuota(
            f"{_uses(user)} {storage.used:,} of the {storage.quota:,} bytes that {_they(user)} may keep "
            f"here, and this needs {size:,} more. Delete an adapter that nobody needs, or ask the operator "
            "for more."
        )


def hold(user: User, sizes: Mapping[str, int]) -> None:
    """The same inside the transaction that names the files: two uploads that fit one by one cannot both pass.
    Raises OverQuota.
    """
    check_room(User.objects.select_for_update(no_key=True).get(pk=user.pk), sizes)


def _uses(user: User) -> str:
    return f"{user.username} uses" if user.is_organisation else "You use"


def _they(user: User) -> str:
    return "it" if user.is_organisation else "you"


def _kept(user: User) -> QuerySet[Blob]:
    files = CommitFile.objects.filter(commit__adapter__owner=user, commit__adapter__deleted_at=None)
    rows = Release.objects.filter(adapter__owner=user, adapter__deleted_at=None).exclude(samples=None)
    named = files.order_by().values("blob").union(rows.order_by().values("samples"))
    return Blob.objects.filter(pk__in=named)
