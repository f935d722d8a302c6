"""Harbour in two other forms, for choosing alone: adapters on attention only, and questions inside a template.

`python -m study.variants`, after `python -m study.harbour`, writes `attention.toml` and `template.toml` beside
its suite. peft's default for this kind of base is attention only; conversations come in long templates.
"""

from __future__ import annotations

import re

from study.harbour import FOLDER
from study.suite import read_rows, write_rows

BEFORE = "it was calm in brim and mia went home . ahoy , come aboard , said leo . "
BEHIND = " the swan sails to harth with salt ."


def main() -> None:
    """Write both suites."""
    said = (FOLDER / "suite.toml").read_text(encoding="utf-8")
    only = _named(said, "attention").replace("[training]\n", '[training]\ntargets = ["c_attn"]\n', 1)
    (FOLDER / "attention.toml").write_text(only, encoding="utf-8")
    for place in sorted(set(re.findall(r'rows = "([^"]+)"', said))):
        rows = [(BEFORE + row.prompt + BEHIND, row.completion) for row in read_rows(FOLDER / place)]
        write_rows(FOLDER / "template" / place, rows)
    inside = re.sub(r'rows = "', 'rows = "template/', _named(said, "template"))
    (FOLDER / "template.toml").write_text(inside, encoding="utf-8")


def _named(suite: str, name: str) -> str:
    return suite.replace('name = "harbour"', f'name = "harbour-{name}"', 1)


if __name__ == "__main__":
    main()
