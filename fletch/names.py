"""Names as people type them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote

import click

SHAPE = re.compile(r"(?P<owner>[^/@\s]+)/(?P<name>[^/@\s]+)(@(?P<revision>[^\s]+))?")
NEWEST = "main"


@dataclass(frozen=True)
class ReleaseName:
    """`owner/name`, or `owner/name@revision`."""

    adapter: str
    revision: str = NEWEST

    @property
    def path(self) -> str:
        """Where the API has it."""
        return f"/adapters/{quote(self.adapter)}/releases/{quote(self.revision, safe='')}"

    @classmethod
    def read(cls, text: str) -> ReleaseName | None:
        """None where this is no such name."""
        match = SHAPE.fullmatch(text)
        return cls(f"{match['owner']}/{match['name']}", match["revision"] or NEWEST) if match else None


class ReleaseNameType(click.ParamType[ReleaseName]):
    """An argument that is a release's name."""

    name = "OWNER/NAME[@REVISION]"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> ReleaseName:
        """As click asks for it."""
        if isinstance(value, ReleaseName):
            return value
        found = ReleaseName.read(str(value))
        if found is None:
            self.fail(f"found {value!r}, expected OWNER/NAME or OWNER/NAME@REVISION", param, ctx)
        return found
