"""`make pictures`: photographs the demonstration's hub for README.md and the documentation."""

import argparse
import logging
import os
import time
from functools import partial
from pathlib import Path

import django
from rich.console import Console

ROOT = Path(__file__).parents[2]


def main() -> None:
    """Tell the demonstration's story, which goes quickly where it was told before, and photograph what it left."""
    parser = argparse.ArgumentParser(prog="make pictures", description=main.__doc__)
    parser.add_argument("names", nargs="*", help="only these pictures")
    parser.add_argument("--to", type=Path, default=ROOT / "docs" / "pictures")
    parser.add_argument("--web-port", type=int, default=8010)
    parser.add_argument("--serving-port", type=int, default=8091)
    options = parser.parse_args()
    os.environ.setdefault("FLETCH_DATA", str(ROOT / "build" / "pictures" / "hub"))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hub.settings")
    os.environ.setdefault("DJANGO_ALLOW_ASYNC_UNSAFE", "1")  # Playwright's loop runs beside the database
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    django.setup()
    logging.getLogger("httpx").setLevel(logging.WARNING)
    from demo.pictures.taking import take  # noqa: PLC0415  (models can be imported only after django.setup)
    from demo.show import story  # noqa: PLC0415

    console = Console(highlight=False)
    story.tell(
        console,
        web_port=options.web_port,
        serving_port=options.serving_port,
        then=partial(take, console, folder=options.to, names=options.names),
        began=time.monotonic(),
    )


if __name__ == "__main__":
    main()
