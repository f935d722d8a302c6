"""The leading singular directions agree with a full decomposition, whatever the matrix."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from routing import lanczos
from routing.lanczos import leading_directions


def drawn(rows: int, columns: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, columns, dtype=torch.float64, generator=generator)


def with_spectrum(sigma: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    left, right = (
        torch.linalg.qr(drawn(width, len(sigma), seed)).Q for seed, width in enumerate((rows, columns))
    )
    return left @ torch.diag(sigma.double()) @ right.T


MATRICES = {
    "square": drawn(60, 60),
    "tall": drawn(300, 40),
    "wide": drawn(40, 300),
    "one row": drawn(1, 30),
    "one column": drawn(30, 1),
    "a falling spectrum": with_spectrum(0.8 ** torch.arange(200), 400, 250),
    "a flat spectrum": with_spectrum(torch.ones(50), 80, 50),
    "two equal leaders": with_spectrum(torch.tensor([2.0, 2.0, 1.0, 0.5]), 90, 70),
    "rank three": with_spectrum(torch.tensor([3.0, 2.0, 1.0]), 90, 70),
    "zero": torch.zeros(20, 12, dtype=torch.float64),
    "tiny": drawn(50, 40) * 1e-12,
}


@pytest.mark.parametrize("kind", MATRICES)
def test_leading_triplets_are_those_of_a_full_decomposition(kind: str) -> None:
    matrix = MATRICES[kind]
    sigma = torch.linalg.svdvals(matrix)
    count = min(16, len(sigma))
    scale = float(sigma[0]) or 1.0

    found = leading_directions(matrix, count)

    torch.testing.assert_close(found.sigma / scale, sigma[:count] / scale, atol=1e-9, rtol=0)
    identity = torch.eye(count, dtype=torch.float64)
    torch.testing.assert_close(found.right @ found.right.T, identity, atol=1e-9, rtol=0)
    torch.testing.assert_close(found.left.T @ found.left, identity, atol=1e-9, rtol=0)
    torch.testing.assert_close(
        matrix @ found.right.T / scale, found.left * found.sigma / scale, atol=1e-8, rtol=0
    )


def test_the_same_matrix_gives_the_same_bits() -> None:
    first, second = (leading_directions(drawn(120, 90), 8) for _ in range(2))

    assert torch.equal(first.right, second.right)
    assert torch.equal(first.left, second.left)


def test_the_search_ends_long_before_the_basis_is_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    longest = 0

    def watched(image: torch.Tensor, basis: list[torch.Tensor], *rest: Any) -> tuple[torch.Tensor, float]:
        nonlocal longest
        longest = max(longest, len(basis))
        return step(image, basis, *rest)

    step = lanczos._next
    monkeypatch.setattr(lanczos, "_next", watched)

    leading_directions(MATRICES["a falling spectrum"], 16)

    assert 16 < longest < 100
