"""`fletch-vllm`: serve a routed checkpoint with vLLM, and measure beforehand what some routers need."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click

from fletch_vllm.moments import write_moments
from fletch_vllm.served import read_served
from fletch_vllm.wishes import overrides, parse
from routing.errors import RoutingError
from routing.routers import QUERY_ROUTERS, ROUTERS

FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.group()
def main() -> None:
    """Serve Fletch's routed checkpoints with vLLM (docs/vllm.md)."""


@main.command(context_settings={"ignore_unknown_options": True})
@click.argument("folder", type=FOLDER)
@click.option("--router", type=click.Choice(sorted(set(ROUTERS) - QUERY_ROUTERS)), help="A router of tokens.")
@click.option("--top-k", type=int, help="Experts for each token and module.")
@click.option("--temperature", type=float, help="Softness of the mixing weights.")
@click.option("--calibrated", is_flag=True, default=None, help="Compare scores in deviations.")
@click.option("--abstain", type=float, help="Keep the plain base below this score.")
@click.option(
    "--expert", "experts", multiple=True, metavar="OWNER/NAME", help="Only this one (and others so named)."
)
@click.option("--name", help="What the model is called; by default as the folder is.")
@click.argument("rest", nargs=-1, type=click.UNPROCESSED)
def serve(
    folder: Path, experts: tuple[str, ...], name: str | None, rest: tuple[str, ...], **said: Any
) -> None:
    """Check the checkpoint in FOLDER, then become vLLM's OpenAI server; what else is said goes to vLLM."""
    asked = {field: value for field, value in said.items() if value is not None}
    if experts:
        asked["experts"] = list(experts)
    try:
        served = read_served(folder.resolve(), parse(asked))
        served.compare_base()
    except (RoutingError, OSError) as error:
        raise click.ClickException(str(error)) from error
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(served.base)]
    command += [
        "--served-model-name",
        name or folder.resolve().name,
        "--hf-overrides",
        overrides(asked),
        *rest,
    ]
    click.echo(" ".join(command), err=True)
    os.execv(sys.executable, command)  # noqa: S606 - the same process goes on as vLLM


@main.command()
@click.argument("folder", type=FOLDER)
@click.option("--device", default="cpu", show_default=True, help="Where the base reads the neutral text.")
def calibrate(folder: Path, device: str) -> None:
    """Measure scores on the library's neutral text: once, for routers that compare them calibrated."""
    try:
        click.echo(f"written: {write_moments(folder, device=device)}")
    except (RoutingError, OSError) as error:
        raise click.ClickException(str(error)) from error
