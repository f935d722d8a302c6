"""The base of a library as its hub describes it: what the checks at home compare with."""

from __future__ import annotations

from fletch.exits import CommandError, Exit
from fletch.hub import Hub
from routing.spec import BaseSpec


def spec_of(hub: Hub, library: str) -> BaseSpec:
    """CommandError where there is no such library, or where nobody has looked at its base yet."""
    described = hub.get(f"/libraries/{library}")["base_spec"]
    if described is None:
        raise CommandError(
            Exit.REFUSED, f"the hub has not looked at the base of {library} yet; try again later"
        )
    return BaseSpec.from_json(described)
