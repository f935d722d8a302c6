"""What the story leaves out and pages show: versions that were measured, and a report that waits."""

import os
import subprocess
import sys
from pathlib import Path

from django.conf import settings
from rich.console import Console

from demo.show.people import MAINTAINER, Person
from demo.show.story import LIBRARY, Running
from demo.tasks import TASKS
from hub.accounts.models import User
from hub.adapters.models import Adapter
from hub.evaluations import queries as evaluations
from hub.indexes.models import IndexVersion
from hub.reports import services as reports
from hub.reports.models import Report

QUESTIONS = 8  # of each task
MEASURED = 2  # the newest versions
REPORTED = "backwards"
SAID = "The card names no source of its word list."


def fill(console: Console, running: Running) -> None:
    """What is there already stays as it is."""
    published = IndexVersion.objects.filter(library__slug=LIBRARY, status=IndexVersion.Status.PUBLISHED)
    for version in published.order_by("-number")[:MEASURED]:
        if not evaluations.of_version(version).exists():
            console.print(f"Measuring version {version.number} ...")
            measure(version.number, running.persons[MAINTAINER], web_port=running.layout.web_port)
    report()


def measure(number: int, maintainer: Person, *, web_port: int) -> None:
    """The demonstration's suite over a version, sent to the hub: the command that any maintainer has."""
    command = [sys.executable, "-m", "evaluation", "demo"]
    command += [f"store={settings.STORE_URL},library={LIBRARY},version={number}", "--limit", str(QUESTIONS)]
    command += ["--send-to", f"http://127.0.0.1:{web_port}", "--library", LIBRARY, "--version", str(number)]
    command += ["--out", str(settings.DATA / "demo" / f"suite-{number}.json")]
    subprocess.run(
        command,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "FLETCH_TOKEN": maintainer.token},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
    )


def report() -> None:
    """By somebody who has an adapter here too."""
    task = next(task for task in TASKS if task.name == REPORTED)
    adapter = Adapter.objects.get(owner__username=task.owner, name=task.name)
    by = User.objects.get(username=TASKS[0].owner)
    if not Report.objects.filter(adapter=adapter, by=by).exists():
        reports.report(adapter=adapter, by=by, reason=Report.Reason.RIGHTS, text=SAID)
