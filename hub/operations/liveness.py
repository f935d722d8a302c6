"""Where a worker says that it is alive: its process id in a file that it touches every few seconds."""

import platform
from pathlib import Path


def worker_file(run_directory: Path) -> Path:
    """One file per host, because containers of one image share the data directory."""
    return run_directory / f"worker-{platform.node()}.pid"
