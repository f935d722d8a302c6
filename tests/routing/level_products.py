"""Products of levels beside exact sums: the program of test_panels for another processor, with little to import.

NUMBA_CPU_NAME=generic python -m tests.routing.level_products fails unless they are exact without any instruction
that a processor may lack.
"""

from __future__ import annotations

import sys

import numpy as np

from routing import panel_loops
from routing.panel_numbers import FEATURES
from routing.sketches import _by_pairs, _in_panels


def rough_products_of_levels() -> None:
    """Compared with sums of 64 bits, up to the largest that fit into 32."""
    draw = np.random.default_rng(0)
    for tokens, d_in, experts in ((1, 50, 70), (2, 51, 3), (9, 514, 130)):
        levels = draw.integers(-127, 128, (experts, d_in)).astype(np.int8)
        inputs = np.zeros((tokens, d_in + d_in % 2), dtype=np.int16)
        inputs[:, :d_in] = draw.integers(-32767, 32768, (tokens, d_in))
        levels[0], inputs[0, :d_in] = -127, 32767
        rough = np.full((tokens, experts), np.nan, dtype=np.float32)
        panels = _in_panels(_by_pairs(levels))
        panel_loops.multiply(rough, inputs.view(np.int32), panels, 0, len(panels))
        exact = inputs[:, :d_in].astype(np.int64) @ levels.T.astype(np.int64)
        assert np.array_equal(rough, exact.astype(np.float32)), (tokens, d_in, experts)


if __name__ == "__main__":
    if FEATURES:
        sys.exit(f"numba was told of no processor: {FEATURES}")
    rough_products_of_levels()
    sys.stdout.write("exact\n")
