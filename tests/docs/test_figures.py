"""`make bench` runs what docs/figures.md says its figures come from, with options that the programs have."""

from __future__ import annotations

import importlib
import re
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
PAGE = (ROOT / "docs" / "figures.md").read_text(encoding="utf-8")
PAGES = [path for path in (ROOT / "docs").rglob("*.md") if path.name != "tree.md"]
BESIDE = {  # what no run of all figures can do, or would wait an hour for
    "python -m bench.gpu",
    "python -m bench.meaning --encoder FOLDER",
    "python -m bench.soak",
}
TARGET = re.compile(r"^(bench[a-z-]*):([^#\n]*)##.*\n((?:\t.*\n)*)", re.MULTILINE)
TARGETS = {name: (needs.split(), recipe) for name, needs, recipe in TARGET.findall(MAKEFILE)}
RUN = [
    line.removeprefix("\t$(BIN)/") for _, recipe in TARGETS.values() for line in recipe.splitlines() if line
]


class Parsed(Exception):
    """Options were taken, and nothing is to run."""


def named(text: str) -> set[str]:
    """The commands of benches that a page gives."""
    return set(re.findall(r"`(python -m bench\.[^`]+)`", text))


def test_bench_runs_every_part() -> None:
    needs, recipe = TARGETS["bench"]

    assert not recipe
    assert {*needs, "bench"} == TARGETS.keys()
    assert len(RUN) == len(set(RUN)), "each command once"


def test_every_command_that_the_figures_name_is_run() -> None:
    assert named(PAGE) - BESIDE <= set(RUN)
    assert named(PAGE) >= BESIDE


def test_a_command_is_named_as_a_whole() -> None:
    assert not re.findall(r"`--[^`]*`", PAGE)


def test_every_command_that_is_run_is_named_by_the_figures_or_its_program_by_another_page() -> None:
    elsewhere = {
        word
        for page in PAGES
        for command in named(page.read_text(encoding="utf-8"))
        for word in command.split()
    }
    programs = {command.split()[2] for command in named(PAGE)}

    for command in set(RUN) - named(PAGE):
        program, *options = command.split()[2:]
        assert program in elsewhere - programs, command
        assert not options, command


def test_every_program_that_a_page_names_is_run() -> None:
    programs = {command.split()[2] for page in PAGES for command in named(page.read_text(encoding="utf-8"))}

    assert programs - {command.split()[2] for command in BESIDE} <= {command.split()[2] for command in RUN}


@pytest.mark.parametrize("command", [command for command in RUN if "--" in command])
def test_the_program_takes_its_options(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    parse = ArgumentParser.parse_args

    def stop(parser: ArgumentParser, *given: Any) -> None:
        parse(parser, *given)
        raise Parsed

    _python, _m, program, *options = command.split()
    monkeypatch.setattr(ArgumentParser, "parse_args", stop)
    monkeypatch.setattr(sys, "argv", [program, *options])

    with pytest.raises(Parsed):
        importlib.import_module(program).main()
