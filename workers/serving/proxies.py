"""Which proxies are believed when they say where a request comes from: none, unless the operator names them.

uvicorn by itself believes whoever comes from loopback, where any program of this machine could then take the
address of anybody: its place in the queue, and its name in the log.
"""

from __future__ import annotations

import argparse
import os
from ipaddress import ip_network
from typing import Any

ALLOWED = "FORWARDED_ALLOW_IPS"  # uvicorn's name, and gunicorn's; addresses with commas
EVERYBODY = "*"


def add_option(parser: argparse.ArgumentParser) -> None:
    """The option of the command line."""
    parser.add_argument(
        "--trusted-proxies",
        nargs="+",
        type=_network,
        metavar="ADDRESS",
        default=os.environ.get(ALLOWED, "").replace(",", " ").split(),
        help="addresses or networks of proxies, such as 127.0.0.1 or 172.16.0.0/12, that are believed when "
        f"X-Forwarded-For says who came to them; default: {ALLOWED}, or none",
    )


def forwarding(parser: argparse.ArgumentParser, given: argparse.Namespace) -> dict[str, Any]:
    """What uvicorn is told of these proxies."""
    try:
        proxies = [_network(one) for one in given.trusted_proxies]
    except argparse.ArgumentTypeError as error:  # of the environment, of which argparse checks no list
        parser.error(f"{ALLOWED}: {error}")
    return {"proxy_headers": bool(proxies), "forwarded_allow_ips": proxies}


def _network(said: str) -> str:
    if said == EVERYBODY:
        wrong = "found *, by which every client would choose its own address"
        raise argparse.ArgumentTypeError(f"{wrong}; expected the addresses of your proxies")
    try:
        ip_network(said)
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"found {said!r}, expected an address or network: {error}"
        ) from error
    return said
