"""How long the web process takes to be ready to answer, and how much memory it holds then.

python -m bench.web_startup [--runs 7]
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

PROBE = """
import io, resource, sys, time
began = time.perf_counter()
from hub.wsgi import application
environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/healthz", "SERVER_NAME": "127.0.0.1", "SERVER_PORT": "80", "wsgi.input": io.BytesIO()}
said = []
list(application(environ, lambda status, headers: said.append(status)))
assert said == ["200 OK"], said
print(time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, "torch" in sys.modules)
"""
RESULT = Path("bench/results/web_startup.json")


def start_once() -> tuple[float, float, bool]:
    """Seconds from the first import to the first answer, MiB of memory then, and whether torch came in."""
    out = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True)
    seconds, kilobytes, torch = out.stdout.split()
    return float(seconds), int(kilobytes) / 1024, torch == "True"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=7)
    runs = [start_once() for _ in range(parser.parse_args().runs)]
    figures = {
        "seconds_median": round(statistics.median(run[0] for run in runs), 3),
        "memory_mib_median": round(statistics.median(run[1] for run in runs), 1),
        "torch_imported": any(run[2] for run in runs),
        "runs": len(runs),
    }
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
