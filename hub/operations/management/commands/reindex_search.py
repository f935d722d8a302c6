"""manage.py reindex_search"""

from typing import Any

from hub.operations.command import HubCommand
from hub.search import services


class Command(HubCommand):
    help = "Write again what adapters are found by, wherever it is not what they say. The hub may run."

    def handle(self, **_: Any) -> None:
        self.stdout.write(f"{services.reindex()} of the search's entries were not what they should be")
