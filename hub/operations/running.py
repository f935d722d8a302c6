"""A whole hub on this machine while a `with` block lasts."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from django.conf import settings
from django.core.management import call_command
from django.db import connections

from hub.errors import Conflict
from hub.operations import parts
from hub.operations.console import LogFolder
from hub.operations.processes import Part, Say
from hub.operations.run_state import sole_run, write_state
from hub.operations.static_files import collect_when_changed
from hub.operations.supervisor import Supervisor


class PortTaken(Conflict):
    """A port that the hub should listen on is in use by another program."""

    code = "port_taken"


@contextmanager
def running_hub(layout: parts.Layout, *, say: Say) -> Iterator[Supervisor]:
    """Migrate, collect static files and start every part; stop all of them at the end of the block.

    The parts are starting when the block begins; `wait_until_ready` of the supervisor waits for them. Raises
    AlreadyRunning or PortTaken before anything is touched.
    """
    wanted = parts.parts_of(layout)
    with sole_run(layout.run_directory):
        refuse_taken_ports(layout, wanted)
        prepare(layout)
        addresses = {part.name: part.address for part in wanted if part.address}
        supervisor = Supervisor(
            wanted,
            say=both(say, LogFolder(settings.LOGS)),
            started=lambda ids: write_state(layout.run_directory, addresses=addresses, parts=ids),
        )
        with supervisor:
            yield supervisor


def prepare(layout: parts.Layout) -> None:
    """Bring the database and the static files to what this code expects."""
    call_command("migrate", interactive=False, verbosity=0)
    collect_when_changed(settings.STATIC_ROOT, stamp=layout.run_directory / "static.stamp")
    connections.close_all()


def refuse_taken_ports(layout: parts.Layout, wanted: Sequence[Part]) -> None:
    """Raises PortTaken with the option that helps."""
    ports = {"web": layout.web_port, "serving": layout.serving_port}
    taken = [
        f"Port {port} is in use by another program. "
        f"Choose another for {part.name}: --{part.name}-port {parts.next_free_port(layout.host, port)}"
        for part in wanted
        if (port := ports.get(part.name)) is not None and not parts.port_is_free(layout.host, port)
    ]
    if taken:
        raise PortTaken("\n".join(taken))


def both(first: Say, second: Say) -> Say:
    """Says every line twice."""

    def say(part: str, line: str) -> None:
        first(part, line)
        second(part, line)

    return say
