"""`python -m fletch`: the same as `fletch`."""

from __future__ import annotations

from fletch.app import fletch

if __name__ == "__main__":
    fletch(prog_name="fletch")
