"""`python -m routing`: the same as `fletch`."""

from __future__ import annotations

import sys

from routing.command_line import main

if __name__ == "__main__":
    sys.exit(main())
