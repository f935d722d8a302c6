"""The serving process: `python -m workers.serving --store data/store`."""

from __future__ import annotations

import argparse
import contextlib
import gc
import os
import sys
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Literal

# Beside other processes threads that spin while they wait are slower than those that sleep (docs/operate.md).
# OpenMP asks once, when torch loads it. What the operator has said stays.
if __name__ == "__main__":
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    gc.disable()  # until all is imported: there is no garbage yet, and the search takes a tenth of the start

import torch
import uvicorn
from starlette.applications import Starlette

from routing import layouts
from routing.object_cache import LIMIT
from routing.spread import parsed
from workers.serving import heap, logs, proxies
from workers.serving.app import create_app
from workers.serving.callers import KINDS
from workers.serving.ending import GRACE, EndingServer
from workers.serving.options import AUTO, MEGABYTE, Limits, Options
from workers.serving.reporting import Hub
from workers.serving.stalls import patient
from workers.serving.telemetry import traces

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
WARM_TIMES = 4  # a host's memory beside its GPU's

STARTUP_FAILURE = 3  # uvicorn's own status of a process that could not listen
REPORT_TO, REPORT_KEY = "FLETCH_REPORT_TO", "FLETCH_REPORT_KEY"

# A request that is sent just when the other end closes is lost, so it must be the client who closes.
# Clients keep idle ones for seconds (httpx, and so openai, for five), proxies for up to a minute.
KEEP_ALIVE = 75  # seconds
COUNTS = {
    "running": "how many answers are under way at once",
    "waiting": "how many more wait for a place before others are refused with 429",
    "judging": "how many prompts are judged by priors at once, before answers begin; one of each caller",
    "prompt_tokens": "the longest prompt and answer together, where the base would read more",
    "max_tokens": "the longest answer that anybody may ask for",
    "mixed_experts": "from how many experts a request may have each token mixed, at all modules together",
    "described_tokens": "how many tokens of experts' descriptions a request may have the prior `lm` read",
    "stalled_seconds": "how long a client may take nothing of its answer before it is cut off, how long the "
    "body of a request may not come, and how long a connection has for the head of one",
    "pinned_versions": "how many index versions that requests name are held of each library beside the "
    "current one, those that still answer included",
    "pinned_seconds": "how long such a version is held after it was asked for last",
}
# How long the model's thread may have to wait for the interpreter while another thread computes in Python.
SWITCH_INTERVAL = 0.0005  # seconds; Python's own is ten times that


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        "workers.serving", description="Serve the composed models of an index store."
    )
    parser.add_argument("--store", required=True, help="a folder or s3://bucket/prefix")
    _add_cache(parser)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8081)
    parser.add_argument("--library", help="serve this library only")
    parser.add_argument(
        "--device", default="auto", help="cpu, cuda, cuda:1 ...; auto takes a GPU if there is one"
    )
    parser.add_argument(
        "--spread",
        nargs="+",
        metavar="DEVICE=ROOM",
        help="spread a base that no device can hold: auto, or how much of it each may hold, such as 0=20GiB "
        "1=20GiB cpu=60GiB; what fits nowhere stays in its files and is read for each pass",
    )
    parser.add_argument("--dtype", default="float32", choices=sorted(DTYPES))
    parser.add_argument("--threads", type=int, help="threads of the CPU; default: all but one")
    _add_limits(parser)
    _add_weights(parser)
    _add_graphs(parser)
    parser.add_argument(
        "--callers",
        choices=KINDS,
        help="whom it answers: `open`, whoever reaches it; `passes`, who brings a pass of the hub; "
        "must be said unless the address is a loopback one, where it is open",
    )
    proxies.add_option(parser)
    parser.add_argument(
        "--report-to",
        metavar="HUB",
        default=os.environ.get(REPORT_TO, ""),
        help=f"report to this hub, once a minute, how often experts are chosen at each module, signed "
        f"by {REPORT_KEY} or the content of the file {REPORT_KEY}_FILE; default: {REPORT_TO}, or to none",
    )
    parser.add_argument(
        "--grace",
        type=_none_or_more,
        default=int(GRACE),
        metavar="SECONDS",
        help="how long answers under way may go on when this process is told to end (SIGTERM); what is left "
        "then ends with an error. Give whatever ends the process twenty seconds more. Default: %(default)s",
    )
    parser.add_argument(
        "--log-format",
        choices=logs.FORMATS,
        default="text",
        help="lines for people, or a JSON object in each line for programs",
    )
    return parser


def _add_cache(parser: argparse.ArgumentParser) -> None:
    """What is kept of a store that is not on this machine."""
    parser.add_argument(
        "--cache",
        type=Path,
        metavar="FOLDER",
        help="where objects from s3:// are kept, compared with their digests when they are read; "
        "default: ~/.cache/fletch/objects",
    )
    parser.add_argument(
        "--cache-megabytes",
        type=_one_or_more,
        help="how much of the disk they may take; the longest unused make room for others. Default: "
        f"{LIMIT // MEGABYTE}, at most half of the disk",
    )


def _add_weights(parser: argparse.ArgumentParser) -> None:
    """How the base's lie in memory."""
    parser.add_argument(
        "--weights",
        nargs="+",
        default=[layouts.AUTO],
        metavar="LAYOUT",
        help=f"on a CPU, how the base's weights lie: {', '.join(layouts.LAYOUTS)}, or {layouts.AUTO}: for "
        "each shape whichever a trial at the start finds fastest; then exceptions, such as 2048x768=stored. "
        "The log says what was taken, and what to say here to have the same again",
    )


def _add_graphs(parser: argparse.ArgumentParser) -> None:
    """How a GPU decodes."""
    parser.add_argument(
        "--graphs",
        choices=("auto", "off"),
        default="auto",
        help="on a GPU, capture decoding in CUDA graphs when a version is loaded, for as many answers as may "
        "run at once; auto: where the version is routed by plain Arrow, or by a few experts that each prompt "
        "chooses for its whole answer, and its graphs decode as passes do",
    )


def _add_limits(parser: argparse.ArgumentParser) -> None:
    """What may be held in memory and what may be asked for."""
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
        "--expert-megabytes",
        type=_one_or_more,
        help="memory for experts, on the device: their routing vectors, and the factors of who is heard; the "
        "others are read when a prompt is for them. Default: every expert is in memory, and a version that "
        "does not fit is refused",
    )
    parser.add_argument(
        "--warm-megabytes",
        type=_none_or_more,
        help="with --expert-megabytes on a GPU: memory of the host for experts that its own has no room for; "
        f"default: {WARM_TIMES} times as much",
    )
    parser.add_argument(
        "--memory-megabytes",
        type=_auto_or_more,
        default=AUTO,
        metavar="MEGABYTES",
        help="memory for the keys and values of all answers under way, each counted at its longest; who does "
        "not fit now waits, who never fits is refused. auto (the default): half of what is free when a base "
        "and its first version are in memory; 0: no limit but --running",
    )
    for name, what in COUNTS.items():
        parser.add_argument(
            f"--{name.replace('_', '-')}", type=_one_or_more, default=getattr(Limits, name), help=what
        )


def main(argv: Sequence[str] | None = None) -> None:
    """Serve until told to stop."""
    gc.enable()
    parser = arguments()
    given = parser.parse_args(argv)
    if given.callers is None and not _only_this_machine(given.host):
        parser.error(
            f"--host {given.host} is reached by other machines: say --callers passes (who brings a pass of "
            "the hub is answered) or --callers open (everybody is; behind a proxy that knows whom it lets in)"
        )
    device = _device(given.device)
    if given.warm_megabytes is not None and (given.expert_megabytes is None or device.type == "cpu"):
        parser.error("--warm-megabytes: expected with --expert-megabytes, and on a GPU alone")
    forwarding = proxies.forwarding(parser, given)
    try:
        spread = None if given.spread is None else parsed(given.spread)
    except ValueError as error:
        parser.error(f"--spread: {error}")
    weights = _weights(parser, given)
    logs.begin(given.log_format)
    heap.share()
    # One core stays free for the event loop and the other processes: thread pools that share cores wait for
    # each other.
    torch.set_num_threads(given.threads or max(1, (os.cpu_count() or 2) - 1))
    options = Options(
        store=given.store,
        library=given.library,
        cache=given.cache,
        cache_megabytes=given.cache_megabytes,
        device=device,
        dtype=DTYPES[given.dtype],
        spread=spread,
        weights=weights,
        graphs=given.graphs == "auto",
        limits=Limits(
            private_versions=given.private_versions,
            prefix_megabytes=given.prefix_megabytes,
            expert_megabytes=given.expert_megabytes,
            warm_megabytes=_warm_megabytes(given, device),
            memory_megabytes=given.memory_megabytes or None,
            **{name: getattr(given, name) for name in COUNTS},
        ),
        callers=given.callers or "open",
        alone=True,
        report_to=_report_to(parser, given.report_to),
    )
    app = create_app(options, traces(os.environ))
    _keep_pauses_short()
    _listen(app, _listening(app, given, forwarding), given)


def _listening(app: Starlette, given: argparse.Namespace, forwarding: Mapping[str, Any]) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        host=given.host,
        port=given.port,
        log_level="warning",
        log_config=None,  # its lines come out as all others
        access_log=False,
        lifespan="on",
        timeout_keep_alive=KEEP_ALIVE,
        http=patient(app.state.server.options.limits.stalled_seconds, app.state.server.metrics),
        **forwarding,
    )


def _listen(app: Starlette, config: uvicorn.Config, given: argparse.Namespace) -> None:
    server = EndingServer(config, app.state.server, grace=given.grace)
    with contextlib.suppress(KeyboardInterrupt):
        server.run()
    if not server.started:
        sys.exit(STARTUP_FAILURE)


def _weights(parser: argparse.ArgumentParser, given: argparse.Namespace) -> layouts.Wanted:
    try:
        return layouts.parsed(given.weights)
    except ValueError as error:
        parser.error(f"--weights: {error}")


def _report_to(parser: argparse.ArgumentParser, url: str) -> Hub | None:
    if not url:
        return None
    file = os.environ.get(f"{REPORT_KEY}_FILE")
    try:
        key = Path(file).read_text().strip() if file else os.environ.get(REPORT_KEY, "")
        return Hub(url, key)
    except (ValueError, OSError) as error:
        parser.error(f"--report-to: {error}")


def _keep_pauses_short() -> None:
    """What a new version makes the interpreter do must not be heard in the answers that are under way."""
    heap.settle()
    heap.collect_when_told()
    sys.setswitchinterval(SWITCH_INTERVAL)


def _only_this_machine(host: str) -> bool:
    """Whether only programs of this machine reach what listens there; names but for one lead anywhere."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _none_or_more(number: str) -> int:
    if (found := int(number)) < 0:
        raise argparse.ArgumentTypeError(f"found {found}, expected 0 or more")
    return found


def _auto_or_more(number: str) -> int | Literal["auto"]:
    return AUTO if number == AUTO else _none_or_more(number)


def _one_or_more(number: str) -> int:
    if (found := int(number)) < 1:
        raise argparse.ArgumentTypeError(f"found {found}, expected 1 or more")
    return found


def _warm_megabytes(given: argparse.Namespace, device: torch.device) -> int:
    """On a CPU experts that are in memory are warm already."""
    if device.type == "cpu" or given.expert_megabytes is None:
        return 0
    asked: int | None = given.warm_megabytes
    return WARM_TIMES * given.expert_megabytes if asked is None else asked


def _device(name: str) -> torch.device:
    if name != "auto":
        return torch.device(name)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


if __name__ == "__main__":
    main()
