"""Dividing hidden states by their root mean square, compiled by numba: see `routing.norms`."""

from __future__ import annotations

import numpy as np

from routing.kernels import Floats, compiled


@compiled
def normalise(output: Floats, hidden: Floats, weight: Floats, least: float) -> None:
    """Write each row [rows, width] over the root of its mean square and `least`, times the weight [width]."""
    width = hidden.shape[1]
    for row in range(hidden.shape[0]):
        x, y = hidden[row], output[row]
        squares = np.float32(0.0)
        for column in range(width):
            squares += x[column] * x[column]
        part = np.float32(1.0) / np.sqrt(squares / np.float32(width) + np.float32(least))
        for column in range(width):
            y[column] = weight[column] * (x[column] * part)
