"""manage.py report_key"""

from typing import Any

from hub.operations.command import HubCommand
from hub.uses.signatures import report_key


class Command(HubCommand):
    help = (
        "Print the key by which serving processes sign their reports of which experts were chosen: "
        "FLETCH_REPORT_KEY for `python -m workers.serving --report-to HUB`."
    )

    def handle(self, **_options: Any) -> None:
        self.stdout.write(report_key())
