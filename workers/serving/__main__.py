"""The serving process: `python -m workers.serving --store data/store`."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

import torch
import uvicorn

from workers.serving import logs
from workers.serving.app import create_app
from workers.serving.options import Limits, Options
from workers.serving.telemetry import traces

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

# A request that is sent just when the other end closes is lost, so it must be the client who closes.
# Clients keep idle ones for seconds (httpx, and so openai, for five), proxies for up to a minute.
KEEP_ALIVE = 75  # seconds


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        "workers.serving", description="Serve the composed models of an index store."
    )
    parser.add_argument("--store", required=True, help="a folder or s3://bucket/prefix")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8081)
    parser.add_argument("--library", help="serve this library only")
    parser.add_argument(
        "--device", default="auto", help="cpu, cuda, cuda:1 ...; auto takes a GPU if there is one"
    )
    parser.add_argument("--dtype", default="float32", choices=sorted(DTYPES))
    parser.add_argument("--threads", type=int, help="threads of the CPU; default: all but one")
    parser.add_argument(
        "--private-versions",
        type=_none_or_more,
        default=Limits.private_versions,
        help="how many index versions with private experts of people are held, each as large as the version "
        "that they join; 0 takes none",
    )
    parser.add_argument(
        "--prefix-megabytes",
        type=_none_or_more,
        default=Limits.prefix_megabytes,
        help="memory for what the turns of conversations have in common, for each base; 0 remembers nothing",
    )
    parser.add_argument(
        "--weights-as-stored",
        action="store_true",
        help="on a CPU: the base's weights as they lie in their files, which takes less memory and more time",
    )
    parser.add_argument(
        "--log-format",
        choices=logs.FORMATS,
        default="text",
        help="lines for people, or a JSON object in each line for programs",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Serve until told to stop."""
    given = arguments().parse_args(argv)
    logs.begin(given.log_format)
    # One core stays free for the event loop and the other processes: thread pools that share cores wait for
    # each other.
    torch.set_num_threads(given.threads or max(1, (os.cpu_count() or 2) - 1))
    options = Options(
        store=given.store,
        library=given.library,
        device=_device(given.device),
        dtype=DTYPES[given.dtype],
        weights_as_stored=given.weights_as_stored,
        limits=Limits(private_versions=given.private_versions, prefix_megabytes=given.prefix_megabytes),
    )
    uvicorn.run(
        create_app(options, traces(os.environ)),
        host=given.host,
        port=given.port,
        log_level="warning",
        log_config=None,  # its lines come out as all others
        access_log=False,
        lifespan="on",
        timeout_graceful_shutdown=10,
        timeout_keep_alive=KEEP_ALIVE,
    )


def _none_or_more(number: str) -> int:
    if (found := int(number)) < 0:
        raise argparse.ArgumentTypeError(f"found {found}, expected 0 or more")
    return found


def _device(name: str) -> torch.device:
    if name != "auto":
        return torch.device(name)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


if __name__ == "__main__":
    main()
