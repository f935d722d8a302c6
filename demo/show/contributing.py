"""Uploads as different people, and each adapter's way through the pipeline while it happens."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from demo.show.hub_api import HubApi
from demo.tasks import Task

SETTLED = ("ready", "rejected")
LOOK_EVERY = 0.25
PATIENCE = 180.0


class Stuck(Exception):
    """A release did not settle in time."""


@dataclass
class Journey:
    """One adapter on its way: what the hub last said of it, and when it reached each status."""

    task: Task
    release: dict[str, Any]
    began: float
    seen: dict[str, float] = field(default_factory=dict)

    def look(self, hub: HubApi) -> None:
        """Ask the hub again, unless the verdict is in."""
        if self.status not in SETTLED:
            self.release = hub.read(self.release["url"])
        self.seen.setdefault(self.status, time.monotonic() - self.began)

    @property
    def status(self) -> str:
        return str(self.release["status"])


def contribute(
    tasks: Sequence[Task], hubs: Mapping[str, HubApi], *, library: str, console: Console
) -> list[Journey]:
    """Upload every task's adapter as its owner, with its sample rows, and watch until all are settled."""
    journeys: list[Journey] = []
    with Live(_table(journeys), console=console, refresh_per_second=8) as live:
        for task in tasks:
            journeys.append(send(task, hubs[task.owner], library=library))
            live.update(_table(journeys))
        last_moment = time.monotonic() + PATIENCE
        while not all(journey.status in SETTLED for journey in journeys):
            if time.monotonic() > last_moment:
                raise Stuck(", ".join(j.task.adapter for j in journeys if j.status not in SETTLED))
            for journey in journeys:
                journey.look(hubs[journey.task.owner])
            live.update(_table(journeys))
            time.sleep(LOOK_EVERY)
    return journeys


def send(task: Task, hub: HubApi, *, library: str) -> Journey:
    """Upload one adapter."""
    began = time.monotonic()
    release = hub.upload(
        library, task.name, task.adapter_directory, message=task.description, samples=task.samples_path
    )
    journey = Journey(task, release, began)
    journey.look(hub)
    return journey


def _table(journeys: Sequence[Journey]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("adapter", "release", "received", "validated", "ready", "warnings"):
        table.add_column(heading)
    for journey in journeys:
        seconds = [
            f"{journey.seen[s]:.1f} s" if s in journey.seen else ""
            for s in ("received", "validated", "ready")
        ]
        if journey.status == "rejected":
            seconds[-1] = "[red]rejected[/red]"
        elif journey.status == "ready":
            seconds[-1] = f"[green]{seconds[-1]}[/green]"
        warnings = sum(finding["severity"] == "warning" for finding in journey.release.get("findings", ()))
        table.add_row(journey.task.adapter, journey.release["oid"][:10], *seconds, str(warnings or ""))
    return table
