"""Which texts the font of social cards can write: Latin, Greek and Cyrillic, letter by letter."""

import unicodedata

MOST = 400
RANGES = (
    (0x0020, 0x024F),
    (0x0370, 0x0525),
    (0x1E00, 0x1EFB),
    (0x1F00, 0x1FFF),
    (0x2010, 0x2027),
    (0x2030, 0x205E),
    (0x2070, 0x209F),
    (0x20A0, 0x20B5),
    (0x2190, 0x2193),
    (0x2212, 0x2212),
)


def writable(text: str) -> str:
    """The text on one line as the font can write it; nothing where it lacks a letter."""
    composed = " ".join(unicodedata.normalize("NFC", text[:MOST]).split())
    return composed if all(is_there(letter) for letter in composed) else ""


def is_there(letter: str) -> bool:
    """Only what stands for itself: no marks that would lie on the letter before it, nothing that steers."""
    return unicodedata.category(letter)[0] not in "CM" and any(
        least <= ord(letter) <= most for least, most in RANGES
    )
