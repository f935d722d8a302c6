"""The Muon optimizer in float32: torch's own computes in bfloat16, which CPUs without bfloat16 do in slow motion.

Source: Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024).
"""

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import Parameter

ROUNDS = 5
COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # make small singular values grow fast; all end between 0.7 and 1.2


def orthogonalized(matrix: Tensor) -> Tensor:
    """The nearest matrix whose singular values are about 1, by Newton-Schulz rounds; same shape."""
    a, b, c = COEFFICIENTS
    wide = matrix.mT if matrix.shape[0] > matrix.shape[1] else matrix
    x = wide / (wide.norm() + 1e-7)
    for _ in range(ROUNDS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if matrix.shape[0] > matrix.shape[1] else x


class Muon(torch.optim.Optimizer):
    """Nesterov momentum whose every step is orthogonalized; for matrices only."""

    def __init__(
        self, parameters: Iterable[Parameter], *, lr: float, momentum: float = 0.95, weight_decay: float = 0.0
    ) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # noqa: ARG002 (part of every optimizer)
        """Update every matrix that has a gradient."""
        for group in self.param_groups:
            for matrix in group["params"]:
                if matrix.grad is None:
                    continue
                state = self.state[matrix]
                average = state.setdefault("average", torch.zeros_like(matrix))
                average.lerp_(matrix.grad, 1 - group["momentum"])
                ahead = matrix.grad.lerp(average, group["momentum"])
                tall = max(1.0, matrix.shape[0] / matrix.shape[1]) ** 0.5
                matrix.mul_(1 - group["lr"] * group["weight_decay"])
                matrix.add_(orthogonalized(ahead), alpha=-group["lr"] * tall)
