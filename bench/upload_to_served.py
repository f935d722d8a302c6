"""Seconds from a finished upload to the first answer that uses it, in a library of 10 and of 1,000 experts.

python -m bench.upload_to_served [--experts 10 1000] [--uploads 3] [--beside-clustering]

A whole hub on this machine (SQLite, embedded), the demonstration's base and real uploads of its adapters. The experts that are there before are
synthetic (rank 4 at every query projection), written straight into the database and the index store. Nothing else
is done meanwhile, unless the library's clusters are asked for at once too: they take one of the two workers.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RESULTS = Path("bench/results")
WAIT = 600.0
NEVER = "86400"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--experts", type=int, nargs="+", default=[10, 1000])
    parser.add_argument("--uploads", type=int, default=3)
    parser.add_argument("--beside-clustering", action="store_true")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one is not None:
        print(json.dumps(measure(options.one, options.uploads)))
        return
    wait = "0" if options.beside_clustering else NEVER
    rows = [measure_apart(count, options.uploads, wait) for count in options.experts]
    RESULTS.mkdir(parents=True, exist_ok=True)
    name = "upload_to_served" + ("-beside_clustering" if options.beside_clustering else "")
    (RESULTS / f"{name}.json").write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(rows, indent=2))


def measure_apart(count: int, uploads: int, clusters_after: str) -> dict[str, object]:
    """A process of its own, with a data folder of its own, for each size: Django's settings are read once."""
    with tempfile.TemporaryDirectory() as data:
        environment = {
            **os.environ,
            "FLETCH_DATA": data,
            "FLETCH_FREE_BYTES": "0",
            "FLETCH_CLUSTER_SECONDS": clusters_after,
            "DJANGO_SETTINGS_MODULE": "hub.settings",
        }
        command = [
            sys.executable,
            "-m",
            "bench.upload_to_served",
            "--one",
            str(count),
            "--uploads",
            str(uploads),
        ]
        out = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
        return {**json.loads(out.stdout.splitlines()[-1]), "beside_clustering": clusters_after != NEVER}


def measure(count: int, uploads: int) -> dict[str, object]:
    import django  # noqa: PLC0415  (models can be imported only after setup)

    django.setup()
    from bench import prefilled_hub  # noqa: PLC0415

    with prefilled_hub.running(count) as (library, hub, serving):
        prefilled_hub.await_served(library, serving, experts=count, within=WAIT)
        seconds = [
            prefilled_hub.upload_until_served(number, hub, serving, within=WAIT) for number in range(uploads)
        ]
    return {
        "experts": count,
        "seconds_median": round(statistics.median(seconds), 2),
        "seconds": [round(value, 2) for value in seconds],
        "measured": time.strftime("%Y-%m-%d"),
    }


if __name__ == "__main__":
    main()
