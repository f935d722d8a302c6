"""`fletch download`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from fletch import fetching, options, screen
from fletch.account import account
from fletch.command import Outcome
from fletch.command import command as make
from fletch.exits import CommandError, Exit
from fletch.hub import PATIENT, Hub
from fletch.names import ReleaseName


@make("download")
@click.argument("what", metavar="OWNER/NAME[@REVISION]|NUMBER")
@options.hub
@click.option(
    "--to",
    "target",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Where to; made if it is not there.",
)
@options.overwrite
def command(*, what: str, hub: str | None, target: Path, overwrite: bool) -> Outcome:
    """Download an adapter, or a composed checkpoint by its number, into a folder.

    Each file goes on where an earlier attempt broke off, and is kept only if its bytes are those that its
    digest promises. What is there already is not fetched again.
    """
    spoken = Hub(account(hub), tries=PATIENT)
    return brought(spoken, _described(spoken, what), target, overwrite=overwrite)


def brought(hub: Hub, described: dict[str, Any], target: Path, *, overwrite: bool) -> Outcome:
    """All files of what the hub describes, in a folder."""
    files = fetching.wanted(described["files"], target)
    target.mkdir(parents=True, exist_ok=True)
    with screen.transfer("downloading") as report:
        came = fetching.fetch(hub, files, report, overwrite=overwrite)
    document = {**described, "folder": str(target), "bytes_received": came}
    return Outcome(
        document, f"{target}: {len(files)} files as their digests promise, {screen.size(came)} received"
    )


def _described(hub: Hub, what: str) -> dict[str, Any]:
    if what.isdigit():
        return hub.get(f"/checkpoints/{what}")
    release = ReleaseName.read(what)
    if release is None:
        raise CommandError(
            Exit.USAGE, f"found {what!r}, expected OWNER/NAME, OWNER/NAME@REVISION or a checkpoint's number"
        )
    return hub.get(release.path)
