"""The documentation's Python runs: each page's blocks in order, in one namespace, from the repository's root.

A page is given `work`, an empty folder to write into, and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs" / "routing").glob("*.md"))
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path) -> Iterator[str]:
    """The Python of a page, each block behind as many empty lines as stand before it: errors name the page's line."""
    text = page.read_text(encoding="utf-8")
    for block in BLOCK.finditer(text):
        yield "\n" * text[: block.start(1)].count("\n") + block[1]


def run(page: Path, code: str, namespace: dict[str, object]) -> None:
    exec(compile(code, str(page), "exec"), namespace)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_a_page_shows_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    torch.manual_seed(0)
    namespace: dict[str, object] = {"work": tmp_path}

    for code in blocks(page):
        run(page, code, namespace)


def test_the_readmes_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    shown = [code for code in blocks(ROOT / "README.md") if "from routing import" in code]

    assert len(shown) == 1
    run(ROOT / "README.md", shown[0], {"work": tmp_path})


def test_an_error_names_the_line_of_its_page(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A page\n\n```python\nx = 1\n```\n\n```python\nx += 1\nmissing\n```\n")
    first, second = blocks(page)
    namespace: dict[str, object] = {}
    run(page, first, namespace)

    with pytest.raises(NameError) as error:
        run(page, second, namespace)

    assert namespace["x"] == 2
    assert error.traceback[-1].path == page
    assert error.traceback[-1].lineno + 1 == 9
