"""The design system keeps its promises: readable in light and dark, small, and complete."""

import gzip
import re
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import load_command_class
from django.test import Client

from tests.pages import content

STATIC = Path(settings.PACKAGE) / "static" / "fletch"
TEMPLATES = Path(settings.PACKAGE) / "templates"
TEXT_ON = [
    *(
        ("ink", ground)
        for ground in (
            "paper",
            "surface",
            "sunken",
            "accent-soft",
            "good-soft",
            "bad-soft",
            "warn-soft",
            "busy-soft",
        )
    ),
    *(("muted", ground) for ground in ("paper", "surface", "sunken")),
    *(("accent", ground) for ground in ("paper", "surface", "accent-soft")),
    *((tone, f"{tone}-soft") for tone in ("good", "bad", "warn", "busy")),
    *((tone, "surface") for tone in ("good", "bad", "warn", "busy")),
    ("on-accent", "accent"),
    ("on-accent", "accent-hover"),
]


def colours(scheme: str) -> dict[str, str]:
    light, dark = (STATIC / "tokens.css").read_text().split("@media (prefers-color-scheme: dark)")
    found = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", light))
    return found if scheme == "light" else {**found, **dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", dark))}


def luminance(colour: str) -> float:
    """WCAG 2.2, relative luminance."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("text", "ground"), TEXT_ON)
def test_text_can_be_read(scheme: str, text: str, ground: str) -> None:
    palette = colours(scheme)
    darker, lighter = sorted([luminance(palette[text]), luminance(palette[ground])])

    assert (lighter + 0.05) / (darker + 0.05) >= 4.5


@pytest.mark.django_db
def test_the_first_page_is_small() -> None:
    content.found_library()
    html = Client().get("/").content

    files = [STATIC / name for name in re.findall(r"/static/fletch/([\w.]+)", html.decode())]
    weight = len(gzip.compress(html)) + sum(
        len(gzip.compress(path.read_bytes())) for path in {*files, STATIC / "live.js"}
    )

    assert weight < 20_000


def test_every_icon_that_a_template_names_is_drawn() -> None:
    drawn = set(re.findall(r'<symbol id="(\w+)"', (STATIC / "icons.svg").read_text()))
    named = {
        name
        for path in TEMPLATES.rglob("*.html")
        for name in re.findall(r'{% icon "(\w+)" %}', path.read_text())
    }

    assert named <= drawn
    assert drawn <= named, f"drawn for nothing: {drawn - named}"


def test_only_the_tokens_name_colours() -> None:
    for sheet in STATIC.glob("*.css"):
        if sheet.name != "tokens.css":
            assert not re.search(r"#[0-9a-f]{3,8}\b|rgb\(|hsl\(", sheet.read_text()), sheet.name


def test_every_class_of_a_template_has_a_style_or_a_script() -> None:
    styles = "".join(sheet.read_text() for sheet in STATIC.glob("*.css"))
    known = set(re.findall(r"\.([a-z][\w-]*)", styles))
    plain = re.compile(r'class="([^"{}]+)"')
    used = {
        name
        for path in TEMPLATES.rglob("*.html")
        for names in plain.findall(path.read_text())
        for name in names.split()
    }

    assert used - known == set()


def test_the_commands_that_pages_show_are_understood() -> None:
    shown = {
        line
        for path in TEMPLATES.rglob("*.html")
        for line in re.findall(r"python manage\.py ([\w ./-]+)", path.read_text())
    }

    for line in shown:
        command, *arguments = line.split()
        parser = load_command_class("hub.operations", command).create_parser("manage.py", command)
        parser.parse_args(arguments)
    assert len(shown) == 2
