"""Taking the album's pictures of a running hub, and putting away those that it no longer has."""

from collections.abc import Sequence
from pathlib import Path

from django.core.management.base import CommandError
from rich.console import Console

from demo.pictures.album import ALBUM
from demo.pictures.camera import browser, photograph
from demo.pictures.developing import develop
from demo.pictures.filling import fill
from demo.show.story import Running


def take(console: Console, running: Running, *, folder: Path, names: Sequence[str] = ()) -> None:
    """All pictures, or those that are named. Raises CommandError for a name that the album lacks."""
    known = [picture.name for picture in ALBUM]
    if unknown := sorted(set(names) - set(known)):
        raise CommandError(f"no picture is called {', '.join(unknown)}; there are {', '.join(known)}")
    fill(console, running)
    address = f"http://127.0.0.1:{running.layout.web_port}"
    with browser() as opened:
        for picture in ALBUM:
            if names and picture.name not in names:
                continue
            person = running.persons[picture.by] if picture.by else None
            for scheme, name in picture.files():
                taken = photograph(opened, address, picture, scheme=scheme, person=person)
                console.print(f"{name}: {develop(taken, folder / name)}")
    if not names:
        put_away(folder)


def put_away(folder: Path) -> None:
    """Delete what the album once had."""
    kept = {name for picture in ALBUM for _, name in picture.files()}
    for file in folder.glob("*.webp"):
        if file.name not in kept:
            file.unlink()
