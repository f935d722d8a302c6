"""The loop that mixes experts on a CPU: the formula, whoever is beside a token, and nothing beyond a row."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from routing.compiled import kernels
from routing.growing import spans_of
from routing.mixing_loops import MOST_TOKENS, SORTED_AS_THEY_COME, mix

Numbers = tuple[NDArray[np.float32], ...]

# As the file of a test it would be collected; so it is what another process is told to do.
ELSEWHERE = """
import numpy as np
from routing.mixing_loops import LANES, mix
draw = np.random.default_rng(0)
hidden, a, b = (draw.standard_normal(shape, dtype=np.float32) for shape in ((5, 19), (13, 19), (13, 21)))
output, spans = np.zeros((5, 21), dtype=np.float32), np.array([[0, 9], [9, 13]])
mix(output, hidden, np.array([[0], [1], [0], [0], [1]]), np.ones((5, 1), dtype=np.float32), a, b, spans)
whose = [slice(0, 9), slice(9, 13), slice(0, 9), slice(0, 9), slice(9, 13)]
wanted = np.stack([(x @ a[mine].T) @ b[mine] for x, mine in zip(hidden, whose)])
print(LANES, bool(np.allclose(output, wanted, rtol=1e-4, atol=1e-4)))
"""


def experts_of(ranks: list[int], d_in: int, d_out: int, seed: int) -> tuple[Numbers, NDArray[np.int64]]:
    draw = np.random.default_rng(seed)
    rows = sum(ranks)
    a = draw.standard_normal((rows, d_in), dtype=np.float32)
    b = draw.standard_normal((rows, d_out), dtype=np.float32)
    return (a, b), spans_of(ranks)


@given(
    ranks=st.lists(st.integers(0, 19), min_size=1, max_size=5),
    d_in=st.integers(1, 70),
    d_out=st.integers(1, 70),
    tokens=st.sampled_from([1, 2, 3, 4, 5, 7, SORTED_AS_THEY_COME + 1]),
    seed=st.integers(0, 99),
)
def test_it_is_the_formula_for_every_width(
    ranks: list[int], d_in: int, d_out: int, tokens: int, seed: int
) -> None:
    (a, b), spans = experts_of(ranks, d_in, d_out, seed)
    draw = np.random.default_rng(seed)
    k = 1 + seed % len(ranks)
    hidden = draw.standard_normal((tokens, d_in), dtype=np.float32)
    chosen = np.stack([draw.permutation(len(ranks))[:k] for _ in range(tokens)])
    weights = draw.random((tokens, k), dtype=np.float32)
    weights[draw.random((tokens, k)) < 0.2] = 0.0
    around = np.full((tokens + 2, d_out), 7.0, dtype=np.float32)
    output = around[1:-1]

    mix(output, hidden, chosen, weights, a, b, spans)

    wanted = np.full((tokens, d_out), 7.0)
    for token in range(tokens):
        for expert, weight in zip(chosen[token], weights[token], strict=True):
            mine = slice(*spans[expert])
            inside = a[mine].astype(np.float64) @ hidden[token].astype(np.float64)
            wanted[token] += float(weight) * (inside @ b[mine].astype(np.float64))
    np.testing.assert_allclose(output, wanted, rtol=1e-3, atol=1e-3)
    assert (around[[0, -1]] == 7.0).all()


@pytest.mark.parametrize("tokens", [*range(2, 2 * MOST_TOKENS + 2), SORTED_AS_THEY_COME])
def test_no_token_changes_what_another_gets(tokens: int) -> None:
    (a, b), spans = experts_of([8, 3, 17], 50, 77, seed=tokens)
    draw = np.random.default_rng(tokens)
    hidden = draw.standard_normal((tokens, 50), dtype=np.float32)
    chosen = np.stack([draw.permutation(3)[:2] for _ in range(tokens)])
    weights = draw.random((tokens, 2), dtype=np.float32)
    together = np.zeros((tokens, 77), dtype=np.float32)

    mix(together, hidden, chosen, weights, a, b, spans)

    for token in range(tokens):
        mine, alone = slice(token, token + 1), np.zeros((1, 77), dtype=np.float32)
        mix(alone, hidden[mine], chosen[mine], weights[mine], a, b, spans)
        assert np.array_equal(together[mine], alone)


@pytest.mark.parametrize("tokens", [1, 5, SORTED_AS_THEY_COME])
def test_whoever_has_no_weight_has_no_part_whatever_it_is_made_of(tokens: int) -> None:
    (a, b), spans = experts_of([8, 8], 16, 16, seed=0)
    a[8:], b[8:] = np.nan, np.inf
    hidden = np.ones((tokens, 16), dtype=np.float32)
    chosen = np.tile([0, 1], (tokens, 1))
    weights = np.tile(np.array([1.0, 0.0], dtype=np.float32), (tokens, 1))
    output = np.zeros((tokens, 16), dtype=np.float32)

    mix(output, hidden, chosen, weights, a, b, spans)

    assert np.isfinite(output).all()
    assert output.any()
    weights[-1] = 0.5
    mix(output, hidden, chosen, weights, a, b, spans)
    assert np.isnan(output[-1]).all()
    assert np.isfinite(output[:-1]).all()


def test_what_chooses_uses_it_too() -> None:
    assert kernels() is not None
    assert kernels().mix is mix  # type: ignore[union-attr]


def test_it_mixes_on_processors_of_which_nothing_is_known(tmp_path: Path) -> None:
    told = {"NUMBA_CACHE_DIR": str(tmp_path), "NUMBA_CPU_NAME": "generic"}

    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE], env=os.environ | told, capture_output=True, text=True, check=False
    )

    assert done.stdout == "8 True\n", done.stderr
