"""The composed checkpoint: asked for, downloaded, and loaded where there is no hub."""

import json
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

import routing
from demo.show import reload
from demo.show.contributing import LOOK_EVERY, PATIENCE, Stuck
from demo.show.hub_api import HubApi
from demo.show.serving_api import Serving

COLUMNS = (TextColumn("{task.description:<24}"), BarColumn(), DownloadColumn())


@dataclass(frozen=True)
class Comparison:
    """The largest difference between served and reloaded log-probabilities, over how many prompt tokens."""

    tokens: int
    largest_difference: float
    hub_modules: tuple[str, ...]


def download(hub: HubApi, *, library: str, folder: Path, console: Console) -> tuple[Path, dict[str, object]]:
    """A `routed` checkpoint of the served version, unpacked; raises Stuck, or ValueError when the digest differs."""
    with Progress(*COLUMNS, console=console, transient=True) as progress:
        building = progress.add_task("building", total=None)
        checkpoint = hub.request_checkpoint(library, "routed")
        last_moment = time.monotonic() + PATIENCE
        while checkpoint["status"] == "requested":
            if time.monotonic() > last_moment:
                raise Stuck("the composed checkpoint")
            time.sleep(LOOK_EVERY)
            checkpoint = hub.read(checkpoint["url"])
        if checkpoint["status"] != "ready":
            raise Stuck(f"the composed checkpoint: {checkpoint}")
        progress.remove_task(building)
        loading = progress.add_task("downloading", total=checkpoint["archive_size"])
        folder.mkdir(parents=True, exist_ok=True)
        archive = folder / "checkpoint.tar"
        digest = hub.download(
            checkpoint["download_url"],
            archive,
            progress=lambda done, _: progress.update(loading, completed=done),
        )
    if digest != checkpoint["archive_digest"]:
        raise ValueError(f"downloaded {digest}, the hub says {checkpoint['archive_digest']}")
    with tarfile.open(archive) as tar:
        top = tar.getmembers()[0].name.split("/")[0]
        shutil.rmtree(folder / top, ignore_errors=True)
        tar.extractall(folder, filter="data")
    return folder / top, checkpoint


def compare(checkpoint: Path, prompts: Sequence[str], serving: Serving, *, version: int) -> Comparison:
    """Ask a fresh process that has only `routing` about the prompts, and the served model about the same."""
    alone = checkpoint.parent / "only-routing"
    shutil.rmtree(alone, ignore_errors=True)
    shutil.copytree(
        Path(str(routing.__file__)).parent, alone / "routing", ignore=shutil.ignore_patterns("__pycache__")
    )
    command = [sys.executable, "-I", str(reload.__file__), str(alone), str(checkpoint)]
    out = subprocess.run(
        command, input=json.dumps(list(prompts)), capture_output=True, text=True, check=False, cwd=alone
    )
    if out.returncode:
        raise RuntimeError(f"the fresh process could not load {checkpoint}:\n{out.stderr[-2000:]}")
    reloaded = json.loads(out.stdout)
    served = [serving.prompt_logprobs(prompt, version=version) for prompt in prompts]
    pairs = [
        pair for a, b in zip(served, reloaded["logprobs"], strict=True) for pair in zip(a, b, strict=True)
    ]
    return Comparison(len(pairs), max(abs(a - b) for a, b in pairs), tuple(reloaded["hub_modules"]))
