"""`fletch contributions`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from fletch import options, screen
from fletch.account import account
from fletch.command import Outcome
from fletch.command import command as make
from fletch.exits import CommandError, Exit
from fletch.following import failed, job_progress, our_part, until
from fletch.hub import PATIENT, Hub

ENDS = {"done": Exit.DONE, "requested": Exit.UNFINISHED, "refused": Exit.REFUSED, "failed": Exit.UNREACHABLE}


@make("contributions")
@click.argument("library", metavar="LIBRARY")
@options.hub
@click.option(
    "--version", type=click.IntRange(1), help="The index version; otherwise the one that is served."
)
@options.rows(required=False)
@click.option("--name", default="", help="What the rows are about; the file's name unless said.")
@click.option(
    "--expert",
    "experts",
    multiple=True,
    metavar="OWNER/NAME",
    help="Leave out only this one, and others that are named.",
)
@click.option("--no-wait", is_flag=True, help="Only ask for it.")
@options.timeout
def command(  # noqa: PLR0913  each is an option
    *,
    library: str,
    hub: str | None,
    version: int | None,
    rows: Path | None,
    name: str,
    experts: Sequence[str],
    no_wait: bool,
    timeout: float,
) -> Outcome:
    """Say what each expert of a library contributes, or have it measured on --rows, as its maintainer.

    A contribution is how much better the library predicts the rows with an expert than without it, in nats
    per token. The same rows again go on where it ended.
    """
    spoken = Hub(account(hub), tries=PATIENT)
    place = f"/libraries/{library}/versions/{version or _served(spoken, library)}/ablations"
    if rows is None:
        if name or experts:
            raise CommandError(
                Exit.USAGE, "--name and --expert belong to a measurement: give --rows FILE too"
            )
        return _told(_newest(spoken, place))
    form = {"name": name, "experts": list(experts)}
    asked = spoken.give(place, {"rows": (rows.name, rows.read_bytes())}, form)
    if no_wait:
        return _told(asked)
    with screen.steps("measuring") as report:
        found = until(
            lambda: spoken.get(f"/ablations/{asked['id']}"),
            lambda seen: seen["state"] != "requested" or failed(seen),
            progress=_progress,
            report=report,
            seconds=timeout,
        )
    if found["state"] == "failed":
        raise our_part(found)
    return _told(found)


def _served(hub: Hub, library: str) -> int:
    current = hub.get(f"/libraries/{library}")["current"]
    if current is None:
        raise CommandError(Exit.NOT_FOUND, f"{library} serves no version yet; say which with --version")
    return int(current)


def _newest(hub: Hub, place: str) -> dict[str, Any]:
    found = hub.get(place)["items"]
    if not found:
        raise CommandError(
            Exit.NOT_FOUND, "nothing was measured of this version; a maintainer gives --rows FILE"
        )
    return hub.get(f"/ablations/{found[0]['id']}")


def _progress(seen: Mapping[str, Any]) -> tuple[int, int, str]:
    return (100, 100, str(seen["state"])) if seen["state"] != "requested" else job_progress(seen)


def _told(found: Mapping[str, Any]) -> Outcome:
    lines = [f"{found['name']}: version {found['version']} of {found['library']}, {_state(found)}"]
    if found["score"] is not None:
        base = f"the base alone {found['base_score']:+.3f}"
        lines.append(f"{found['rows']} rows, {found['score']:+.3f} nats per token with all experts, {base}")
    width = max((len(one["adapter"]) for one in found["contributions"]), default=0)
    lines += [_line(one, width) for one in found["contributions"]]
    return Outcome(dict(found), screen.harmless("\n".join(lines)), ENDS.get(found["state"], Exit.NO))


def _state(found: Mapping[str, Any]) -> str:
    said = f"{found['state']}: {found['note']}" if found["note"] else str(found["state"])
    return f"{said} (another version is served now)" if found["stale"] else said


def _line(one: Mapping[str, Any], width: int) -> str:
    interval = f"[{one['low']:+.3f}, {one['high']:+.3f}]"
    return f"{one['adapter']:<{width}}  {one['gain']:+.3f}  {interval}  heard on {one['heard']}"
