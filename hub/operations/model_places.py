"""Where models are, as operators name them: folders or hub ids."""

from pathlib import Path

from django.core.management.base import CommandError


def model_place(given: str) -> str:
    """A folder by its full path, so that workers find it; anything that is no folder is taken for a hub id.

    Raises CommandError for what looks like a folder and is none.
    """
    folder = Path(given).expanduser()
    if folder.is_dir():
        return str(folder.resolve())
    if given.startswith((".", "/", "~")):
        raise CommandError(f"{given} is no folder")
    return given
