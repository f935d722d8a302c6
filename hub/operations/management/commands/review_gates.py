"""manage.py review_gates"""

from typing import Any

from django.core.management.base import CommandParser

from hub.adapters import gates, history, queries
from hub.adapters.models import Gates
from hub.operations.command import HubCommand, adapter_called


class Command(HubCommand):
    help = (
        "Show an expert's gates: whose rows they learnt from, and why some are held back. --let-in uses held "
        "ones, --refuse leaves any out of every version to come."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("adapter", help="owner/name")
        parser.add_argument(
            "--revision", default=history.MAIN, help="a release's 40-hex id (default: the newest)"
        )
        decision = parser.add_mutually_exclusive_group()
        decision.add_argument("--let-in", type=int, metavar="NUMBER", help="use these gates")
        decision.add_argument("--refuse", type=int, metavar="NUMBER", help="use these gates no more")
        parser.add_argument("--reason", default="", help="the owner and the maintainers read it")

    def handle(self, **options: Any) -> None:
        release = queries.release(adapter_called(options["adapter"]), options["revision"])
        if options["let_in"] is not None:
            found = gates.numbered(release, options["let_in"])
            gates.let_in(gates=found, by=None, reason=options["reason"])
        elif options["refuse"] is not None:
            found = gates.numbered(release, options["refuse"])
            gates.refuse(gates=found, by=None, reason=options["reason"])
        if not release.gates.exists():
            self.stdout.write(f"{release} has no gates")
        used = gates.in_use(release)
        for found in release.gates.order_by("number"):
            self.stdout.write(_line(found, in_use=found == used))
            for finding in found.findings:
                self.stdout.write(f"    {finding['found']}; expected {finding['expected']}")


def _line(found: Gates, *, in_use: bool) -> str:
    use = ", in use" if in_use else ""
    cost = f"{found.rows} rows, {found.seconds:.1f} s"
    return f"gates {found.number}, {found.source}: {found.standing}{use}; {cost}"
