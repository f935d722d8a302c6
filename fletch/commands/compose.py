"""`fletch compose`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from fletch import options, screen
from fletch.account import account
from fletch.command import Outcome
from fletch.command import command as make
from fletch.commands.download import brought
from fletch.exits import CommandError, Exit
from fletch.following import failed, job_progress, our_part, until
from fletch.hub import PATIENT, Hub


@make("compose")
@click.argument("library", metavar="LIBRARY")
@options.hub
@click.option(
    "--kind", type=click.Choice(["routed", "adapter", "merged"]), default="routed", help="Of what kind."
)
@click.option(
    "--version", type=click.IntRange(1), help="The index version; otherwise the one that is served."
)
@click.option(
    "--expert",
    "experts",
    multiple=True,
    metavar="OWNER/NAME",
    help="Only this one, and others that are named.",
)
@click.option("--rank", type=click.IntRange(1), help="Of the kind adapter.")
@click.option(
    "--bits",
    type=click.Choice(["8", "4"]),
    help="Of each weight of the kind merged, rounded; as the base has them unless said.",
)
@click.option("--method", metavar="NAME", help="How adapter and merged are merged; the mean unless said.")
@click.option(
    "--weight",
    "weights",
    multiple=True,
    metavar="OWNER/NAME=NUMBER",
    help="What an expert counts; equal unless said.",
)
@click.option("--scale", type=float, help="Multiplies the merged update.")
@click.option("--density", type=float, help="The share of entries that is kept (magnitude, ties, dare-...).")
@click.option("--seed", type=int, help="Draws which entries are kept (dare-...).")
@click.option("--no-wait", is_flag=True, help="Only ask for it; `fletch download NUMBER` fetches it later.")
@click.option(
    "--to",
    "target",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Download it into this folder once it is there.",
)
@options.overwrite
@options.timeout
def command(
    *,
    library: str,
    hub: str | None,
    no_wait: bool,
    target: Path | None,
    overwrite: bool,
    timeout: float,
    weights: Sequence[str],
    **wishes: Any,
) -> Outcome:
    """Have a library composed into one checkpoint, and bring it home.

    Three kinds: `routed` loads with `routing` and routes every token; `adapter` is one ordinary PEFT LoRA;
    `merged` is dense weights for plain transformers, in 8 or 4 bits each if you like.
    """
    spoken = Hub(account(hub), tries=PATIENT)
    body = {name: value for name, value in wishes.items() if value not in (None, ())}
    if "bits" in body:
        body["bits"] = int(body["bits"])
    if weights:
        body["weights"] = _weights(weights)
    asked = spoken.post(f"/libraries/{library}/checkpoints", body)
    if no_wait:
        return _told(asked)
    with screen.steps("composing") as report:
        found = until(
            lambda: spoken.get(f"/checkpoints/{asked['id']}"),
            lambda seen: seen["status"] != "requested" or failed(seen),
            progress=job_progress,
            report=report,
            seconds=timeout,
        )
    if found["status"] == "failed" or failed(found):
        raise our_part(found)
    if found["status"] != "ready" or target is None:
        return _told(found)
    return brought(spoken, found, target, overwrite=overwrite)


def _told(checkpoint: Mapping[str, Any]) -> Outcome:
    end = Exit.DONE if checkpoint["status"] == "ready" else Exit.UNFINISHED
    number, kind = checkpoint["id"], checkpoint["kind"]
    what = f"checkpoint {number}: {kind} of {checkpoint['library']} version {checkpoint['version']}"
    text = f"{what}, {checkpoint['status']}; fetch it with: fletch download {number} --to FOLDER"
    return Outcome(checkpoint, text, end)


def _weights(said: Sequence[str]) -> dict[str, float]:
    """OWNER/NAME=NUMBER, as often as it was said."""
    found = {}
    for one in said:
        expert, _, number = one.rpartition("=")
        try:
            found[expert] = float(number)
        except ValueError:
            expert = ""
        if not expert:
            raise CommandError(Exit.USAGE, f"--weight: found {one!r}, expected OWNER/NAME=NUMBER")
    return found
