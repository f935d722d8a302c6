"""Options that several commands have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click

from fletch.names import ReleaseNameType

READY, SERVED = "ready", "served"
Decorated = TypeVar("Decorated", bound=Callable[..., Any])

hub = click.option(
    "--hub",
    metavar="URL",
    help="The hub; otherwise FLETCH_HUB, HF_ENDPOINT, or the one of the last `fletch login`.",
)
folder = click.argument(
    "folder", type=click.Path(exists=True, file_okay=False, path_type=Path), metavar="FOLDER"
)
library = click.option(
    "--library", metavar="NAME", help="The library; otherwise the one that the card names (`fletch init`)."
)
revision = click.option("--revision", metavar="REVISION", help="Of a base that is named by its id.")
device = click.option("--device", metavar="DEVICE", help="Where to compute; a GPU where there is one.")


def base(*, required: bool) -> Callable[[Decorated], Decorated]:
    """The base model at home."""
    about = "The base model: a folder, or a Hugging Face id."
    return click.option("--base", required=required, metavar="FOLDER|ID", help=about)


def rows(*, required: bool) -> Callable[[Decorated], Decorated]:
    """Sample rows."""
    return click.option(
        "--rows",
        required=required,
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        metavar="FILE",
        help='JSON lines of {"prompt", "completion"} or {"messages"}.',
    )


release = click.argument("release", type=ReleaseNameType(), metavar="OWNER/NAME[@REVISION]")
timeout = click.option(
    "--timeout",
    type=click.FloatRange(0),
    default=3600.0,
    metavar="SECONDS",
    help="How long to watch at most; an hour unless said.",
)
overwrite = click.option("--overwrite", is_flag=True, help="Replace files that are there with other bytes.")


@dataclass(frozen=True)
class Watch:
    """Whether to stay and watch a release, how far, and how long at most."""

    follow: bool
    goal: str
    seconds: float


def watching(function: Callable[..., Any]) -> Callable[..., Any]:
    """--follow, --until and --timeout, as one `watch`."""

    @wraps(function)
    def watched(*, follow: bool, goal: str, timeout: float, **others: Any) -> Any:
        return function(watch=Watch(follow, goal, timeout), **others)

    goals = "How far to watch: until its verdict, or until the served model knows it."
    watched = click.option("--until", "goal", type=click.Choice([READY, SERVED]), default=READY, help=goals)(
        watched
    )
    watched = click.option("--follow", is_flag=True, help="Watch until it is ready or rejected.")(watched)
    return timeout(watched)
