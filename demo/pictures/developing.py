"""From a screenshot to a small file, written only where it would look different from the one that is there."""

import io
from pathlib import Path

from PIL import Image, ImageChops

QUALITY = 86
EFFORT = 6  # 6 is the most
VISIBLE = 40  # of 255: a smaller difference of a pixel is how it was compressed
SHARE = 0.004  # of all pixels; a moment that is told otherwise is less


def develop(screenshot: bytes, target: Path) -> str:
    """Write `target` as WebP, or leave the picture that looks the same; returns what was done, in a word."""
    taken = Image.open(io.BytesIO(screenshot)).convert("RGB")
    word = "replaced" if target.exists() else "new"
    if target.exists():
        with Image.open(target) as there:
            if _alike(taken, there.convert("RGB")):
                return "unchanged"
    target.parent.mkdir(parents=True, exist_ok=True)
    taken.save(target, "WEBP", quality=QUALITY, method=EFFORT)
    return word


def _alike(one: Image.Image, other: Image.Image) -> bool:
    if one.size != other.size:
        return False
    histogram = ImageChops.difference(one, other).convert("L").histogram()
    return sum(histogram[VISIBLE:]) <= SHARE * one.width * one.height
