"""`fletch upload`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from fletch import cards, options, screen, sending
from fletch.account import account
from fletch.command import Outcome
from fletch.command import command as make
from fletch.exits import CommandError, Exit
from fletch.hub import PATIENT, Hub
from fletch.options import Watch
from fletch.releases import watched
from fletch.spec import spec_of
from routing.checks.static import run_static_checks
from routing.spec import BaseSpec


@make("upload")
@options.folder
@options.library
@options.hub
@click.option("--name", metavar="NAME", help="What the adapter is called; otherwise as the folder.")
@click.option("--owner", default="", metavar="ORGANISATION", help="Whose it will be; without one, yours.")
@click.option("--message", "-m", default="", metavar="TEXT", help="What changed.")
@click.option("--unchecked", is_flag=True, help="Send it without looking at it here first.")
@click.option("--private", is_flag=True, help="Seen by you (or the organisation) and whom you invite.")
@options.rows(required=False)
@options.watching
def command(
    *,
    folder: Path,
    library: str | None,
    hub: str | None,
    name: str | None,
    owner: str,
    rows: Path | None,
    watch: Watch,
    **about: Any,
) -> Outcome:
    """Upload the adapter in FOLDER as a new release.

    Every file is sent from where an earlier attempt broke off, and not at all if the hub keeps it for you
    already. What the checks of files would reject is not sent. Hidden files stay here. Sample rows are
    private: they are for the hub's workers only.
    """
    slug = library or cards.library_of(folder)
    if slug is None:
        raise CommandError(
            Exit.USAGE, "name the --library that it is for, or write it into the card: fletch init"
        )
    spoken = Hub(account(hub), tries=PATIENT)
    if about.pop("unchecked"):
        spoken.get(f"/libraries/{slug}")  # a misspelt one is said before anything is sent
    else:
        _refuse_what_would_be_rejected(folder, spec_of(spoken, slug))
    files = sending.files_of(folder)
    with screen.transfer("reading") as report:
        found = sending.digested(files, report)
        samples = sending.digested([(rows.name, rows)], report) if rows else []
    _refuse_what_has_no_room(spoken, [*found, *samples], owner)
    with screen.transfer("uploading") as report:
        sent = sending.send(spoken, [*found, *samples], report, owner=owner)
    about |= {"samples": samples[0].sha256 if samples else None, "owner": owner}
    release = sending.assemble(spoken, slug, name or folder.resolve().name, found, about)
    screen.note(f"{release['adapter']}: {len(files)} files, {screen.size(sent)} sent")
    if watch.follow:
        return watched(spoken, release["url"], watch)
    text = f"{release['adapter']} release {release['number']} ({release['oid']}): {release['status']}"
    return Outcome({**release, "bytes_sent": sent}, text)


def _refuse_what_would_be_rejected(folder: Path, spec: BaseSpec) -> None:
    found = run_static_checks(folder, spec)
    if any(finding.severity == "error" for finding in found):
        refused = "not sent, because the hub would reject it (--unchecked sends it all the same)"
        raise CommandError(Exit.NO, refused, [finding.to_json() for finding in found])


def _refuse_what_has_no_room(hub: Hub, files: list[sending.Sent], owner: str) -> None:
    """Say what the storage of whoever will own it holds, before anything is sent."""
    storage = hub.get(f"/organisations/{owner}" if owner else "/whoami")["storage"]
    used, quota = int(storage["used"]), int(storage["quota"])
    new = {file.sha256: file.size for file in files if not sending.here(hub, file, owner)["complete"]}
    screen.note(f"storage: {screen.size(used)} of {screen.size(quota)} used")
    if sum(new.values()) > quota - used:
        whose = f"the storage of {owner}" if owner else "your storage"
        raise CommandError(
            Exit.NO,
            f"not sent: {used:,} of {quota:,} bytes of {whose} are used, and this needs "
            f"{sum(new.values()):,} more; delete an adapter, or ask the hub's operator for more",
        )
