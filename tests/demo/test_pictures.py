"""The documentation's pictures are written again only where somebody would see a difference."""

import io
from pathlib import Path

from PIL import Image, ImageDraw

from demo.pictures.album import ALBUM
from demo.pictures.developing import develop


def screenshot(text: str = "", *, height: int = 200) -> bytes:
    image = Image.new("RGB", (400, height), "#f6f7f6")
    draw = ImageDraw.Draw(image)
    draw.rectangle((20, 20, 200, 60), fill="#0d6350")
    draw.text((20, 100), text, fill="#16211e")
    kept = io.BytesIO()
    image.save(kept, "PNG")
    return kept.getvalue()


def test_what_looks_the_same_is_left_alone(tmp_path: Path) -> None:
    target = tmp_path / "pictures" / "home.webp"

    assert develop(screenshot("19 s"), target) == "new"
    first = target.read_bytes()
    assert develop(screenshot("23 s"), target) == "unchanged"
    assert target.read_bytes() == first


def test_what_looks_different_replaces_it(tmp_path: Path) -> None:
    target = tmp_path / "home.webp"
    develop(screenshot("one adapter"), target)

    assert develop(screenshot("one adapter" * 6), target) == "replaced"
    assert develop(screenshot("one adapter" * 6, height=220), target) == "replaced"
    with Image.open(target) as there:
        assert there.size == (400, 220)


def test_no_two_pictures_have_one_file() -> None:
    names = [name for picture in ALBUM for _, name in picture.files()]

    assert len(names) == len(set(names))
