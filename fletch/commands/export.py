"""`fletch export`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import click

from fletch import options, screen
from fletch.account import account, address_of, token_at
from fletch.command import Outcome
from fletch.command import command as make
from fletch.exits import CommandError, Exit
from fletch.following import failed, job_progress, until
from fletch.hub import PATIENT, Hub
from fletch.names import ReleaseName
from fletch.tokens import typed_or_piped

ENDS = {
    "requested": Exit.UNFINISHED,
    "done": Exit.DONE,
    "refused": Exit.REFUSED,
    "failed": Exit.UNREACHABLE,
}


@make("export")
@click.argument("what", metavar="OWNER/NAME[@REVISION]|NUMBER")
@options.hub
@click.option("--to", "endpoint", required=True, metavar="URL", help="The other hub.")
@click.option("--repo", required=True, metavar="OWNER/NAME", help="The repository there; made if it is not.")
@click.option(
    "--private", is_flag=True, help="Only into a private repository; so it is for what is private here."
)
@click.option("--follow", is_flag=True, help="Watch until it is there or refused.")
@options.timeout
def command(
    *, what: str, hub: str | None, endpoint: str, repo: str, private: bool, follow: bool, timeout: float
) -> Outcome:
    """Push a release of yours to another hub, or a checkpoint by its number, as its library's maintainer.

    Your hub pushes it, with a token for the other side that it forgets when this has ended. That is HF_TOKEN
    where HF_ENDPOINT (huggingface.co unless set) is the other side, or what `fletch login` remembered for it;
    else it is typed where nobody sees it, or piped.
    """
    there = address_of(endpoint)
    path, wish = _place(what)
    spoken = Hub(account(hub), tries=PATIENT)
    token = token_at(there) or typed_or_piped(there, otherwise="HF_TOKEN and HF_ENDPOINT")
    asked = spoken.post(path, {**wish, "to": there, "repo": repo, "token": token, "private": private})
    if not follow:
        return _told(asked)
    with screen.steps("exporting") as report:
        found = until(
            lambda: spoken.get(f"{path}/{asked['id']}"),
            lambda seen: seen["status"] != "requested" or failed(seen),
            progress=job_progress,
            report=report,
            seconds=timeout,
        )
    return _told(found)


def _place(what: str) -> tuple[str, dict[str, Any]]:
    """Where exports of this are asked for, and what of it is meant."""
    if what.isdigit():
        return f"/checkpoints/{what}/exports", {}
    release = ReleaseName.read(what)
    if release is None:
        raise CommandError(
            Exit.USAGE, f"found {what!r}, expected OWNER/NAME, OWNER/NAME@REVISION or a checkpoint's number"
        )
    return f"/adapters/{quote(release.adapter)}/exports", {"revision": release.revision}


def _told(export: Mapping[str, Any]) -> Outcome:
    what = export["adapter"] or f"checkpoint {export['checkpoint']}"
    place = f"{export['endpoint']}/{export['repo']}"
    text = f"export {export['id']}: {what} to {place}, {export['status']}"
    if export["status"] == "done":
        text += f": {export['url']}"
    elif export["note"]:
        text += f": {export['note']}"
    return Outcome(export, screen.harmless(text), ENDS[export["status"]])
