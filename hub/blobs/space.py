"""Free space: uploads stop while there is still room for the database, so that the hub never falls over a
full disk.
"""

import shutil
from pathlib import Path

from django.conf import settings

from hub.errors import StorageFull


def check_room_for(size: int, *, folder: Path | None = None) -> None:
    """Raises StorageFull when `size` more bytes would leave less than the floor free."""
    usage = shutil.disk_usage(folder or settings.TEMPORARY)
    floor = min(settings.LIMITS.free_bytes, int(usage.total * settings.LIMITS.free_fraction))
    if usage.free - size < floor:
        raise StorageFull(
            f"The hub has {usage.free:,} bytes free and keeps {floor:,} in reserve, so it cannot take "
            f"{size:,} more. Downloads and answers go on; please try again later or tell the operator."
        )
