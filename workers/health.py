"""`python -m workers.health`: status 0 while the worker of this container says that it is alive."""

import os
import sys
import time

import django
from django.conf import settings

from hub.operations.liveness import worker_file

SILENT_AFTER = 60.0


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hub.settings")
    django.setup()
    path = worker_file(settings.DATA / "run")
    age = time.time() - path.stat().st_mtime if path.exists() else float("inf")
    if age > SILENT_AFTER:
        sys.exit(f"no sign of life of the worker for {age:.0f} s ({path})")


if __name__ == "__main__":
    main()
