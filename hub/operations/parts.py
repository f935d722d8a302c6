"""The three parts of a hub on one machine: the web process, the worker and the serving process."""

import os
import signal
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from hub.operations.liveness import worker_file
from hub.operations.processes import Part
from hub.uses.signatures import report_key

PROBE_TIMEOUT = 2.0
HIGHEST_PORT = 65_535
# The serving process answers strangers and needs only the index store: it gets no key of the hub's
# and no database; what it signs its reports with is good for nothing else.
SECRETS = (
    "FLETCH_SECRET_KEY",
    "FLETCH_DATABASE_URL",
    "FLETCH_REDIS_URL",
    "FLETCH_EMAIL_PASSWORD",
    "FLETCH_S3_SECRET_KEY",
)


@dataclass(frozen=True)
class Layout:
    """Where the parts of this hub listen and what they share."""

    host: str
    web_port: int
    serving_port: int | None
    store_url: str
    run_directory: Path
    worker_processes: int
    web_threads: int = 16


def parts_of(layout: Layout) -> list[Part]:
    """Every part that this layout asks for."""
    serving = [] if layout.serving_port is None else [serving_part(layout, layout.serving_port)]
    return [web_part(layout), worker_part(layout), *serving]


def web_part(layout: Layout) -> Part:
    address = f"http://{layout.host}:{layout.web_port}"
    threads = ("--worker-class=gthread", f"--threads={layout.web_threads}", "--graceful-timeout=10")
    quiet = ("--log-level=warning", "--no-control-socket")
    return Part(
        name="web",
        command=(
            *(sys.executable, "-m", "gunicorn", "hub.wsgi:application", *threads, *quiet),
            f"--bind={layout.host}:{layout.web_port}",
        ),
        ready=answers(f"{address}/healthz"),
        environment=_serving_address(layout),
        address=address,
    )


def worker_part(layout: Layout) -> Part:
    command = (sys.executable, "-m", "celery", "--quiet", "-A", "workers.app", "worker")
    return Part(
        name="worker",
        command=(
            *command,
            f"--concurrency={layout.worker_processes}",
            "--queues=cpu,gpu,io",
            "--without-mingle",
        ),
        environment={
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS") or _threads(layout),
            "FLETCH_PUBLIC_URL": settings.PUBLIC_URL or f"http://{layout.host}:{layout.web_port}",
        },
        ready=names_itself_in(worker_file(layout.run_directory)),
        stop_signal=signal.SIGQUIT,  # running jobs get some seconds more and are then given back
        grace=20.0,
    )


def serving_part(layout: Layout, port: int) -> Part:
    address = f"http://{layout.host}:{port}"
    return Part(
        name="serving",
        command=(
            *(sys.executable, "-m", "workers.serving", "--store", layout.store_url),
            *("--host", layout.host, "--port", str(port)),
            *("--grace", "5"),  # who ends it looks on
            *(("--callers", settings.SERVING_CALLERS) if settings.SERVING_CALLERS else ()),
            *("--report-to", f"http://{layout.host}:{layout.web_port}"),
        ),
        # Web process and workers want the same cores: threads that spin while they wait would hold them.
        environment={
            "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY") or "PASSIVE",
            "FLETCH_REPORT_KEY": report_key(),
        },
        ready=answers(f"{address}/healthz"),
        withheld=(*SECRETS, *(f"{name}_FILE" for name in SECRETS)),
        grace=20.0,
        address=address,
    )


def answers(url: str) -> Callable[[int], bool]:
    """Ready when this address answers with success."""

    def probe(_pid: int) -> bool:
        try:
            with urllib.request.urlopen(url, timeout=PROBE_TIMEOUT) as answer:  # noqa: S310 (our own http address)
                return bool(answer.status == 200)  # noqa: PLR2004 (HTTP's own number)
        except urllib.error.HTTPError as refusal:  # of our address, when only a public name is allowed
            return refusal.code < 500  # noqa: PLR2004
        except (urllib.error.URLError, OSError):
            return False

    return probe


def names_itself_in(path: Path) -> Callable[[int], bool]:
    """Ready when the process has written its own id to this file."""

    def probe(pid: int) -> bool:
        try:
            return path.read_text() == str(pid)
        except FileNotFoundError:
            return False

    return probe


def port_is_free(host: str, port: int) -> bool:
    """Whether a server could listen there now."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def next_free_port(host: str, port: int) -> int:
    """The first free port above this one, to be suggested."""
    return next(number for number in range(port + 1, HIGHEST_PORT) if port_is_free(host, number))


def _threads(layout: Layout) -> str:
    """The worker's processes share the cores; pools of threads that overlap only wait for each other."""
    return str(max(1, (os.cpu_count() or 1) // layout.worker_processes))


def _serving_address(layout: Layout) -> dict[str, str]:
    return (
        {}
        if layout.serving_port is None
        else {"FLETCH_SERVING_URL": f"http://{layout.host}:{layout.serving_port}"}
    )


def processes_for_this_machine() -> int:
    """Each worker process holds a base model, so a few are enough however many cores there are."""
    return max(1, min(2, os.cpu_count() or 1))
