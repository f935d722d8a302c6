"""`python -m routing.checks DIRECTORY BASE_SPEC.json`: the static findings about an upload as JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from routing.checks.static import run_static_checks
from routing.spec import BaseSpec


def main(directory: str, spec: str) -> None:
    """Print {"findings": [...]}; what an upload does wrong is a finding, never an exit code."""
    base = BaseSpec.from_json(json.loads(Path(spec).read_bytes()))
    findings = run_static_checks(Path(directory), base)
    sys.stdout.write(json.dumps({"findings": [finding.to_json() for finding in findings]}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
