"""The documentation's pictures: each that is named is there, each that is there is named, and says what it shows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.pictures.album import ALBUM

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FOLDER = ROOT / "docs" / "pictures"
MOST = 1_500_000  # bytes of all of them
MARKDOWN = re.compile(r"!\[([^\]]*)\]\(([^)\s]+)\)")
TAG = re.compile(r"<(img|source)\s[^>]*>")
ATTRIBUTE = re.compile(r'([a-z-]+)="([^"]*)"')
CODE = re.compile(r"^```.*?^```$|`[^`\n]*`", re.MULTILINE | re.DOTALL)
FEWEST_WORDS = 3


def named(page: Path) -> Iterator[tuple[str, str | None]]:
    """Address and words of every picture of a page; a second file of the same picture needs no words."""
    text = CODE.sub("", page.read_text(encoding="utf-8"))
    for words, address in MARKDOWN.findall(text):
        yield address, words
    for tag in TAG.finditer(text):
        attributes = dict(ATTRIBUTE.findall(tag[0]))
        yield (
            (attributes["src"], attributes.get("alt", ""))
            if tag[1] == "img"
            else (attributes["srcset"], None)
        )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_picture_that_a_page_names_is_there_and_is_described(page: Path) -> None:
    for address, words in named(page):
        assert not address.startswith(("http:", "https:", "/")), f"{address}: pictures lie beside the pages"
        assert (page.parent / address).is_file(), f"{page.name} names {address}, which is not there"
        assert words is None or len(words.split()) >= FEWEST_WORDS, f"{address} is not described"


def test_every_picture_is_named_and_all_of_them_are_small() -> None:
    shown = {(page.parent / address).resolve() for page in PAGES for address, _ in named(page)}
    there = {file.resolve() for file in FOLDER.iterdir()}

    assert there - shown == set()
    assert sum(file.stat().st_size for file in there) < MOST


def test_the_pictures_are_those_that_the_command_takes() -> None:
    taken = {name for picture in ALBUM for _, name in picture.files()}

    assert {file.name for file in FOLDER.iterdir()} == taken


def test_a_picture_that_is_missing_or_not_described_would_be_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        '![](a.webp)\n<picture><source srcset="b.webp"><img src="c.webp" alt="A page of the hub"></picture>\n'
    )

    assert list(named(page)) == [("a.webp", ""), ("b.webp", None), ("c.webp", "A page of the hub")]
