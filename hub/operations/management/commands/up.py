"""`manage.py up`: the whole hub on this machine, until Ctrl-C."""

import os
import signal
import threading
from argparse import ArgumentParser
from types import FrameType
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from hub.errors import Conflict
from hub.operations import parts
from hub.operations.console import Console
from hub.operations.running import running_hub
from hub.operations.supervisor import NotReady, Supervisor

READY_WITHIN = 120.0


class Command(BaseCommand):
    help = "Start web, worker and serving; restart what crashes; Ctrl-C stops all of them."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--host", default="127.0.0.1", help="where to listen (default: this machine only)"
        )
        parser.add_argument("--web-port", type=int, default=8000)
        parser.add_argument("--serving-port", type=int, default=8081)
        parser.add_argument("--no-serving", action="store_true", help="start no serving process here")
        parser.add_argument("--workers", type=int, default=parts.processes_for_this_machine(), metavar="N")

    def handle(self, *_args: Any, **options: Any) -> None:
        layout = parts.Layout(
            host=options["host"],
            web_port=options["web_port"],
            serving_port=None if options["no_serving"] else options["serving_port"],
            store_url=settings.STORE_URL,
            run_directory=settings.DATA / "run",
            worker_processes=options["workers"],
        )
        coloured = self.stdout.isatty() and "NO_COLOR" not in os.environ
        self.stdout.write("Preparing the database and the static files ...")
        try:
            self._run(layout, Console(self.stdout, coloured=coloured))
        except Conflict as conflict:
            raise CommandError(str(conflict)) from conflict

    def _run(self, layout: parts.Layout, console: Console) -> None:
        with running_hub(layout, say=console) as supervisor:
            leave = stop_on_signals(supervisor)
            self._announce(supervisor, layout, leave)
            leave.wait()
            console("up", "stopping; Ctrl-C again stops at once")
        console("up", "stopped")

    def _announce(self, supervisor: Supervisor, layout: parts.Layout, leave: threading.Event) -> None:
        try:
            supervisor.wait_until_ready(READY_WITHIN, unless=leave)
        except NotReady as late:
            self.stderr.write(f"{late}; the lines above may say why. Still trying.")
            return
        if not leave.is_set():
            self.stdout.write(self.style.SUCCESS("Fletch is ready. Ctrl-C stops it."))
            for part in parts.parts_of(layout):
                if part.address:
                    self.stdout.write(f"  {part.name:<8} {part.address}")


def stop_on_signals(supervisor: Supervisor) -> threading.Event:
    """The first Ctrl-C (or termination) asks to leave; the second does not wait for a graceful end."""
    leave = threading.Event()

    def asked(_number: int, _frame: FrameType | None) -> None:
        if leave.is_set():
            supervisor.hurry()
        leave.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, asked)
    return leave
