"""One or two tokens times a weight in oneDNN's layout, compiled by numba: one walk through memory."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from routing.kernels import compiled

WIDTH = 64  # outputs of a panel; a constant, so that the innermost loop is made of whole vectors

Floats = NDArray[np.float32]


@compiled
def multiply(output: Floats, hidden: Floats, panels: Floats) -> None:
    """Write output [tokens, panels * 64] = hidden [tokens, d_in] times panels [panels, d_in, 64].

    Four inputs at a time, so that a sum is fetched and put back once for four products; d_in is a multiple.
    """
    tokens, d_in = hidden.shape
    sums = np.empty((tokens, WIDTH), dtype=np.float32)
    for place in range(panels.shape[0]):
        panel = panels[place]
        sums[:] = 0.0
        for first in range(0, d_in, 4):
            w0, w1, w2, w3 = panel[first], panel[first + 1], panel[first + 2], panel[first + 3]
            for token in range(tokens):
                x, total = hidden[token], sums[token]
                x0, x1, x2, x3 = x[first], x[first + 1], x[first + 2], x[first + 3]
                for lane in range(WIDTH):
                    total[lane] += (w0[lane] * x0 + w1[lane] * x1) + (w2[lane] * x2 + w3[lane] * x3)
        for token in range(tokens):
            output[token, place * WIDTH : (place + 1) * WIDTH] = sums[token]
