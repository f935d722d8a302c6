"""`make demo`: the whole way of thirteen adapters on one machine, then a running hub to look around in."""

import argparse
import logging
import os
import sys
import time
from functools import partial
from pathlib import Path

import django
from django.core.management.base import CommandError
from rich.console import Console


def main() -> None:
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--web-port", type=int, default=8000)
    parser.add_argument("--serving-port", type=int, default=8081)
    parser.add_argument(
        "--leave", action="store_true", help="stop the hub at the end instead of leaving it running"
    )
    options = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hub.settings")
    # Beside a web process and a worker, a spinning model thread would only steal from them.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    django.setup()
    logging.getLogger("httpx").setLevel(logging.WARNING)
    from demo.show import story  # noqa: PLC0415  (models can be imported only after django.setup)

    console, began = Console(highlight=False), time.monotonic()
    try:
        story.tell(
            console,
            web_port=options.web_port,
            serving_port=options.serving_port,
            then=story.leave if options.leave else partial(story.stay, console),
            began=began,
        )
    except CommandError as error:
        console.print(f"[red]{error}[/red]")
        sys.exit(1)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    main()
