"""A broken adapter, and how the hub says what is wrong with it: everything at once, so that one mend is enough."""

import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from demo.bad import write_bad_adapter
from demo.show.contributing import LOOK_EVERY, PATIENCE, SETTLED, Stuck
from demo.show.hub_api import HubApi

NAME = "broken-plural"


def refuse(hub: HubApi, *, library: str, console: Console) -> None:
    """Upload an adapter with a NaN and a missing row, and print the report; raises Stuck."""
    with tempfile.TemporaryDirectory() as folder:
        broken = write_bad_adapter(Path(folder) / "adapter")
        release = hub.upload(library, NAME, broken, message="Something went wrong in training")
    last_moment = time.monotonic() + PATIENCE
    while release["status"] not in SETTLED:
        if time.monotonic() > last_moment:
            raise Stuck(NAME)
        time.sleep(LOOK_EVERY)
        release = hub.read(release["url"])
    errors = [finding for finding in release["findings"] if finding["severity"] == "error"]
    console.print(
        f"And one that is broken, {release['adapter']}: [red]{release['status']}[/red], with every reason at once."
    )
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("where", "found", "expected", "how to fix it"):
        table.add_column(heading, overflow="fold")
    for finding in errors:
        table.add_row(
            finding["field"] or finding["file"], finding["found"], finding["expected"], finding["fix"]
        )
    console.print(table)
