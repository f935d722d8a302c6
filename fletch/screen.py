"""What people see: results on stdout, messages and progress on stderr, no stranger's control codes."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

Report = Callable[[int, int, str], None]  # done, total, note
QUIET_SECONDS = 5.0
SEVERITIES = {"error": "red", "warning": "yellow"}


def harmless(text: str) -> str:
    """A stranger's text without what could steer a terminal; its lines and tabs stay."""
    return "".join(
        character
        if character.isprintable() or character in "\n\t"
        else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def show(text: str) -> None:
    """The result, for people."""
    click.echo(text)


def show_document(document: Any) -> None:
    """The result, for programs: one JSON document."""
    click.echo(json.dumps(document, indent=1, ensure_ascii=False, default=str))


def note(text: str) -> None:
    """Something worth knowing meanwhile."""
    click.echo(text, err=True)


def finding_line(finding: Mapping[str, Any]) -> str:
    """A finding as a person reads it, the same words as on the hub's page."""
    place = f"{finding['file']}: {finding['field']}" if finding["field"] else str(finding["file"])
    severity = click.style(finding["severity"], fg=SEVERITIES.get(finding["severity"]), bold=True)
    said = f"found {finding['found']}; expected {finding['expected']}. {finding['fix']}".rstrip()
    return f"{severity}: {harmless(f'{place}: {said}')}"


@contextmanager
def steps(what: str) -> Iterator[Report]:
    """Progress counted in steps."""
    with _progress(what, (MofNCompleteColumn(),), str) as report:
        yield report


@contextmanager
def transfer(what: str) -> Iterator[Report]:
    """Progress counted in bytes."""
    columns = (DownloadColumn(binary_units=True), TransferSpeedColumn(), TimeRemainingColumn())
    with _progress(what, columns, size) as report:
        yield report


def size(count: int) -> str:
    """Bytes in the unit that people would use."""
    amount, units = float(count), ["bytes", "KiB", "MiB", "GiB"]
    while amount >= 1024 and len(units) > 1:  # noqa: PLR2004 - the step between the units
        amount, units = amount / 1024, units[1:]
    return f"{count} bytes" if units[0] == "bytes" else f"{amount:.1f} {units[0]}"


@contextmanager
def _progress(what: str, columns: tuple[ProgressColumn, ...], unit: Callable[[int], str]) -> Iterator[Report]:
    """A bar on a terminal; anywhere else a line at the beginning, at the end and every few seconds."""
    if not sys.stderr.isatty():
        yield _lines(what, unit)
        return
    described = TextColumn("{task.description}", markup=False)
    noted = TextColumn("{task.fields[note]}", markup=False)
    console = Console(stderr=True)
    with Progress(described, BarColumn(), *columns, noted, console=console, transient=True) as bars:
        bar = bars.add_task(what, total=None, note="")
        yield lambda done, total, note: bars.update(bar, completed=done, total=total or None, note=note)


def _lines(what: str, unit: Callable[[int], str]) -> Report:
    said_at, said = -QUIET_SECONDS, ""

    def report(done: int, total: int, text: str) -> None:
        nonlocal said_at, said
        line = f"{what}: {unit(done)} of {unit(total)} {text}".rstrip()
        now = time.monotonic()
        if line != said and (done >= total or now - said_at >= QUIET_SECONDS):
            note(line)
            said_at, said = now, line

    return report
