"""Which hub, and whose token: said on the command line, in the environment, or remembered by `fletch login`.

A token goes to the hub that it was given for and to no other: what `login` remembered to its own hub, and
HF_TOKEN only to where HF_ENDPOINT points.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from fletch.exits import CommandError, Exit

SECRET_MODE = 0o600
HUGGING_FACE = "https://huggingface.co"  # where its clients are at home unless HF_ENDPOINT says otherwise
NO_HUB = "no hub is named; sign in with `fletch login --hub URL`, or set FLETCH_HUB"


@dataclass(frozen=True)
class Account:
    """A hub's address, and the token to speak to it with, if there is one."""

    hub: str
    token: str | None


@dataclass(frozen=True)
class Remembered:
    """What `fletch login` wrote: tokens by hub, and the hub of the last login."""

    hub: str | None
    tokens: Mapping[str, str]


def account(hub: str | None = None) -> Account:
    """The hub that is meant, and the token that belongs to it. CommandError if none is named."""
    address = hub_meant(hub)
    known = remembered().tokens.get(address)
    return Account(address, os.environ.get("FLETCH_TOKEN") or known or _hf_token(address))


def token_at(address: str) -> str | None:
    """The token that this machine has for any hub: the Hugging Face clients' own where it is
    theirs, or what `login` remembered.
    """
    theirs = address_of(os.environ.get("HF_ENDPOINT") or HUGGING_FACE)
    spoken = os.environ.get("HF_TOKEN") if theirs == address else None
    return spoken or remembered().tokens.get(address)


def hub_meant(hub: str | None = None) -> str:
    """The address of the hub that is meant. CommandError if none is named."""
    chosen = named_hub(hub)
    if not chosen:
        raise CommandError(Exit.USAGE, NO_HUB)
    return address_of(chosen)


def named_hub(hub: str | None = None) -> str | None:
    """The hub that is meant as it was written, if any is named anywhere."""
    return hub or os.environ.get("FLETCH_HUB") or os.environ.get("HF_ENDPOINT") or remembered().hub


def address_of(hub: str) -> str:
    """A hub's address in one spelling; CommandError if it is none."""
    parts = urlsplit(hub.strip())
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.username:
        raise CommandError(
            Exit.USAGE, f"hub: found {hub!r}, expected an address such as https://hub.example.org"
        )
    return f"{parts.scheme}://{parts.netloc.lower()}{parts.path.rstrip('/')}"


def remembered() -> Remembered:
    """What the file says; nothing where there is none. CommandError if it is no file of ours."""
    path = credentials_file()
    if not path.exists():
        return Remembered(None, {})
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return Remembered(
            document["hub"], {str(hub): str(token) for hub, token in document["tokens"].items()}
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CommandError(
            Exit.USAGE, f"{path}: found no credentials in it ({error}); remove it and sign in again"
        ) from error


def remember(found: Account) -> Path:
    """Keep a token for its hub, which becomes the one that is meant from now on."""
    kept = remembered()
    tokens = {**kept.tokens, **({found.hub: found.token} if found.token else {})}
    return _write({"hub": found.hub, "tokens": tokens})


def forget(hub: str) -> bool:
    """Forget a hub's token; False if there was none."""
    kept = remembered()
    tokens = {address: token for address, token in kept.tokens.items() if address != hub}
    _write({"hub": kept.hub, "tokens": tokens})
    return hub in kept.tokens


def credentials_file() -> Path:
    """Where tokens are remembered, readable by their owner only."""
    return Path(click.get_app_dir("fletch")) / "credentials.json"


def _hf_token(address: str) -> str | None:
    """The Hugging Face clients' token, where it is this hub's."""
    endpoint, token = os.environ.get("HF_ENDPOINT"), os.environ.get("HF_TOKEN")
    return token if endpoint and token and address_of(endpoint) == address else None


def _write(document: Mapping[str, Any]) -> Path:
    """Beside, then in its place: nobody else may read it at any moment."""
    path = credentials_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, SECRET_MODE)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(document, file, indent=1)
    fresh.replace(path)
    return path
