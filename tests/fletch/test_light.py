"""The command is light: it starts without torch or Django, and installs without them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

import click
import pytest

from fletch.app import COMMANDS, fletch
from fletch.exits import MEANINGS, Exit
from tests.fletch.running import PROJECT, Shell
from tests.tiny import tiny_adapter

HEAVY = (
    "torch",
    "numpy",
    "safetensors",
    "transformers",
    "django",
    "celery",
    "hub",
    "workers",
    "peft",
    "pydantic",
)
OPTION = re.compile(r"(?<!\S)--[a-z-]+")
PROBE = """
import sys
from importlib import import_module
from fletch.app import COMMANDS, fletch
for module, _about in COMMANDS.values():
    import_module(f"fletch.commands.{module}")
print(sorted({name.partition(".")[0] for name in sys.modules}))
"""


def test_no_command_imports_what_computes_before_it_computes() -> None:
    told = subprocess.run(
        [sys.executable, "-c", PROBE], cwd=PROJECT, capture_output=True, text=True, check=True
    )

    assert not [name for name in HEAVY if f"'{name}'" in told.stdout]


def test_it_installs_into_an_empty_environment_and_works_there(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    site = emptied(tmp_path / "environment")
    install(tmp_path / "source", site)
    adapter = tiny_adapter(tmp_path / "boats")

    def installed(*words: str) -> subprocess.CompletedProcess[str]:
        command = [str(tmp_path / "environment/bin/python"), "-I", str(site / "bin/fletch"), *words]
        return subprocess.run(
            command, env={"HOME": str(home)}, cwd=home, capture_output=True, text=True, check=False
        )

    listed, computing = installed("--help"), installed("check", str(adapter), "--base", "anything")

    assert listed.returncode == 0, listed.stderr
    assert all(name in listed.stdout for name in COMMANDS)
    assert not any((site / name).exists() for name in HEAVY)
    assert computing.returncode == Exit.NEEDS_COMPUTE
    assert "pip install 'fletch[compute]'" in computing.stderr


def emptied(folder: Path) -> Path:
    """A new virtual environment's site-packages with what the command declares to need, and nothing else."""
    venv.create(folder, with_pip=False)
    (site,) = folder.glob("lib/python*/site-packages")
    for name in closure(
        line.split("#")[0] for line in (PROJECT / "requirements/command.in").read_text().splitlines()
    ):
        for file in metadata.files(name) or ():
            source, target = Path(str(file.locate())), site / str(file)
            if ".." not in file.parts and "__pycache__" not in file.parts and source.is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                target.symlink_to(source)
    return site


def closure(requirements: Iterable[str]) -> set[str]:
    """The distributions that these need, and those that they need in turn."""
    names = {match[0] for line in requirements if ";" not in line and (match := re.match(r"[\w.-]+", line))}
    deeper = {name for one in names for name in closure(metadata.requires(one) or ())}
    return names | deeper


def install(source: Path, site: Path) -> None:
    """As `pip install .` does in a checkout, but with the building tools of this environment."""
    for part in ("pyproject.toml", "fletch", "routing", "requirements"):
        place = PROJECT / part
        copied = shutil.copytree if place.is_dir() else shutil.copy
        source.mkdir(exist_ok=True)
        copied(place, source / part)
    options = ("--no-deps", "--no-index", "--no-build-isolation", "--quiet", "--target", str(site))
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(source)], cwd=source, check=True)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_can_complete_it(stranger: Shell, shell: str) -> None:
    script = stranger.fletch("completion", shell)

    assert script.status == 0, script.err
    assert "_FLETCH_COMPLETE" in script.out


def test_completion_knows_the_commands_and_their_options(stranger: Shell) -> None:
    commands = stranger.fletch(_FLETCH_COMPLETE="bash_complete", COMP_WORDS="fletch tr", COMP_CWORD="1")
    options = stranger.fletch(
        _FLETCH_COMPLETE="bash_complete", COMP_WORDS="fletch train-gate --lear", COMP_CWORD="2"
    )

    assert commands.out.split() == ["plain,train-gate"]
    assert options.out.split() == ["plain,--learning-rate"]


def test_the_page_about_it_knows_every_command_and_exit_code_and_no_other_option() -> None:
    page = (PROJECT / "docs" / "command-line.md").read_text()

    assert [name for name in COMMANDS if f"fletch {name}" not in page] == []
    assert [end for end in Exit if f"| {int(end)} | {MEANINGS[end.name]} |" not in page] == []
    taken = {word for name in COMMANDS for option in options_of(name) for word in option}
    shown = {
        option for line in page.splitlines() if line.startswith("fletch ") for option in OPTION.findall(line)
    }
    assert shown <= taken


def options_of(name: str) -> list[list[str]]:
    """What a command can be told, by every spelling."""
    found = fletch.get_command(click.Context(fletch), name)
    assert found is not None
    return [parameter.opts for parameter in found.params]


def test_every_exit_code_has_a_meaning_that_help_tells(stranger: Shell) -> None:
    said = stranger.fletch("--help").out

    assert set(MEANINGS) == {end.name for end in Exit}
    assert all(meaning.split()[0] in said for meaning in MEANINGS.values())
