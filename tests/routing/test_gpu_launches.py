"""What is launched on a GPU compiles for one; routing sums in the same way for few tokens and for many."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.routing.gpu_launches import FIXED

KERNELS = {"choose", "expand", "route", "score", "shrink"}
MIXING = {"expand", "shrink"}
WITHOUT_PRODUCTS = {"choose"}
SHARED_BYTES = 99 * 1024  # of the smallest GPU that is newer than sm_80


@pytest.mark.parametrize(
    ("architecture", "dtype"),
    [
        (90, "bfloat16"),
        *(
            pytest.param(architecture, dtype, marks=pytest.mark.slow)
            for architecture in (80, 90, 100)
            for dtype in ("float32", "bfloat16", "float16")
            if (architecture, dtype) != (90, "bfloat16")
        ),
    ],
)
def test_all_launches_compile_once_and_multiply_alike(architecture: int, dtype: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.routing.gpu_launches", str(architecture), dtype],
        env=os.environ | {"TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.returncode, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]

    # No number of tokens or experts makes a request wait for a compiler. Scores are chosen from as they are, or by size.
    for one in found:
        assert one["variants"] == (2 if one["kernel"].startswith("choose") else 1)
        assert one["shared"] <= SHARED_BYTES
    multiply = {one["kernel"]: one["multiply"] for one in found}
    attend = {name: multiply.pop(name) for name in list(multiply) if "heads of" in name}
    assert {name.partition(",")[0] for name in attend} == {"attend", "join"}
    for name, used in attend.items():
        assert len(used) == (name.startswith("attend") and dtype != "float32")
    for k in FIXED:
        for kernel in MIXING:
            for tokens in ("few", "many"):
                assert (
                    multiply.pop(f"{kernel}, {tokens} tokens of {k}")
                    == multiply[f"{kernel}, {tokens} tokens"]
                )
    assert set(multiply) == {f"{kernel}, {tokens} tokens" for kernel in KERNELS for tokens in ("few", "many")}
    for kernel in KERNELS:
        used = multiply[f"{kernel}, few tokens"]
        assert used == multiply[f"{kernel}, many tokens"]  # one instruction: one order of summing
        in_tensor_cores = kernel not in WITHOUT_PRODUCTS and dtype == "bfloat16"
        assert len(used) == 1 if in_tensor_cores else len(used) <= 1
