"""What a notebook imports from `routing`: every name is where the table says, and a stranger is refused by name."""

from __future__ import annotations

import subprocess
import sys

import pytest

import routing


@pytest.mark.parametrize("name", routing.__all__)
def test_every_name_resolves_to_the_thing_of_that_name(name: str) -> None:
    found = getattr(routing, name)

    home = getattr(found, "__module__", None)
    assert name.isupper() or (found.__name__ == name and home == f"routing.{routing._HOMES[name]}")


def test_a_name_that_is_not_there_is_refused_by_name() -> None:
    with pytest.raises(AttributeError, match="routing has no magic; it has Base, "):
        _ = routing.magic


def test_importing_the_package_alone_loads_no_torch() -> None:
    probe = "import sys, routing; print('torch' in sys.modules)"

    alone = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)

    assert alone.stdout.strip() == "False"
