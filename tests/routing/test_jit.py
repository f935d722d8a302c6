"""Compiled loops are kept for the next process where that is possible, and compiled where it is not."""

from __future__ import annotations

import importlib.util
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from routing import jit

SOURCE = """
from routing.jit import kept

@kept(boundscheck=False)
def doubled(number):
    return 2 * number
"""
Load = Callable[[], Any]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """A module with one loop, beside which and in the user's home nothing can be written, loaded anew."""
    source = tmp_path / "source" / "doubling.py"
    source.parent.mkdir()
    source.write_text(SOURCE, encoding="utf-8")
    # files where folders would be: root may write into any folder
    (source.parent / "__pycache__").touch()
    (tmp_path / "home").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    for say in (jit._say_that_none_is_kept, jit._say_where_else):
        say.cache_clear()

    def loaded() -> Any:
        spec = importlib.util.spec_from_file_location("doubling", source)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return loaded


def test_a_loop_is_compiled_once_for_all_who_name_the_folder(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jit.settings, "CACHE_DIR", str(tmp_path / "kept"))
    assert load().doubled(21) == 42

    again = load().doubled

    assert again(21) == 42
    assert sum(again.stats.cache_hits.values()) == 1
    assert tmp_path / "kept" in Path(again.stats.cache_path).parents


def test_where_no_folder_can_be_written_loops_are_compiled_all_the_same(
    load: Load, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(jit.settings, "CACHE_DIR", "")

    assert load().doubled(21) == 42

    (said,) = caplog.messages
    assert said.startswith(
        "no folder for compiled loops can be written, each start compiles them again: no loc"
    )
    assert "doubling.py" in said


def test_a_folder_that_cannot_be_written_is_named_with_the_one_that_is_used(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    refused = tmp_path / "refused"
    refused.touch()
    monkeypatch.setattr(jit.settings, "CACHE_DIR", str(refused))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "writable"))

    assert load().doubled(21) == 42

    (said,) = caplog.messages
    assert said.startswith(f"compiled loops are kept in {tmp_path / 'writable'}")
    assert f"NUMBA_CACHE_DIR={refused}" in said


def test_loops_are_kept_apart_for_each_state_of_their_files(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jit.settings, "CACHE_DIR", str(tmp_path / "kept"))
    assert load().doubled(21) == 42

    for number in range(jit.STATES + 3):
        monkeypatch.setattr(jit, "state", lambda number=number: f"another-{number}")
        jit._forget_others.cache_clear()
        again = load().doubled
        assert again(21) == 42
        assert not again.stats.cache_hits

    assert len(list((tmp_path / "kept").iterdir())) == jit.STATES + 1  # and the one in use


def test_every_file_that_numba_reads_counts() -> None:
    known = {path.name for path in jit.sources()}
    using = {
        path.name
        for path in jit.HERE.glob("*.py")
        if re.search(
            r"^from (numba|llvmlite|routing\.jit|routing\.kernels|routing\.vectors) import",
            path.read_text(),
            re.MULTILINE,
        )
    }

    assert using <= known
    assert jit.settings.CACHE_DIR == "" or jit.state() not in jit.settings.CACHE_DIR  # it is put back


@pytest.mark.parametrize("changed", ["kernels.py", "panel_numbers.py", "sketch_loops.py"])
def test_a_change_of_any_of_them_is_another_state(
    changed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = jit.state.__wrapped__()
    copies = [tmp_path / path.name for path in jit.sources()]
    for source, copy in zip(jit.sources(), copies, strict=True):
        copy.write_bytes(source.read_bytes())
    monkeypatch.setattr(jit, "sources", lambda: copies)
    assert jit.state.__wrapped__() == before

    (tmp_path / changed).write_text((tmp_path / changed).read_text() + "\n# another\n")

    assert jit.state.__wrapped__() != before
