"""How long canonical factors and prototypes of a 7B-shaped adapter take, and how exact they are.

python -m bench.factors [--layers 32] [--rank 16] [--sample 1]
"""

from __future__ import annotations

import argparse
import math
import time

import torch

from bench.report import save, show
from routing.adapter import Adapter, LowRank
from routing.factors import Factors, expert_factors, reconstruction_error
from routing.prototypes import routing_vectors

WIDTHS = {
    "self_attn.q_proj": (4096, 4096),
    "self_attn.k_proj": (4096, 4096),
    "self_attn.v_proj": (4096, 4096),
    "self_attn.o_proj": (4096, 4096),
    "mlp.gate_proj": (4096, 11008),
    "mlp.up_proj": (4096, 11008),
    "mlp.down_proj": (11008, 4096),
}
FALL = 0.8  # each singular value is about this share of the one before


def main() -> None:
    """Measure, print, write."""
    given = _arguments().parse_args()
    adapter = random_adapter(given.layers, given.rank)
    started = time.perf_counter()
    factors = expert_factors(adapter)
    middle = time.perf_counter()
    routing_vectors(factors)
    seconds = {"factors": middle - started, "prototypes": time.perf_counter() - middle}
    names = list(adapter.modules)[: given.sample]
    errors = [compare(adapter.low_rank[name], factors[name]) for name in names]
    worst = {key: max(error[key] for error in errors) for key in errors[0]}
    worst["reconstruction"] = max(
        reconstruction_error(adapter.low_rank[name], factors[name]) for name in names
    )
    title = f"an adapter of {len(factors)} modules, rank {given.rank}; accuracy on {given.sample} against float64 SVD"
    lines = [[f"seconds for {name}", f"{value:.3f}"] for name, value in seconds.items()]
    lines += [[name.replace("_", " "), f"{value:.2e}"] for name, value in worst.items()]
    show(title, ["figure", "value"], lines)
    save("factors", {"modules": len(factors), "rank": given.rank, "seconds": seconds, "accuracy": worst})


def random_adapter(layers: int, rank: int) -> Adapter:
    """Random factors with a falling spectrum in every linear of a Llama-2-7B."""
    generator = torch.Generator().manual_seed(0)
    fall = FALL ** torch.arange(rank)

    def low_rank(d_in: int, d_out: int) -> LowRank:
        a = torch.randn(rank, d_in, generator=generator) * fall.unsqueeze(1)
        return LowRank(a, torch.randn(d_out, rank, generator=generator) / rank, 2.0)

    return Adapter(
        {
            f"model.layers.{layer}.{name}": low_rank(*width)
            for layer in range(layers)
            for name, width in WIDTHS.items()
        }
    )


def compare(low_rank: LowRank, factors: Factors) -> dict[str, float]:
    """Ours against the full singular value decomposition of the product, both in float64."""
    dense = low_rank.scaling * low_rank.b.double() @ low_rank.a.double()
    sigma, right = torch.linalg.svd(dense, full_matrices=False)[1:]
    prototype = factors.a[0].double()
    beside = torch.linalg.vector_norm(prototype - (right[0] @ prototype) * right[0])
    ours = factors.b.double() @ factors.a.double()
    return {
        "prototype_degrees": math.degrees(math.asin(min(1.0, float(beside)))),
        "singular_values_relative": float(
            ((factors.sigma.double() - sigma[: factors.rank]) / sigma[: factors.rank]).abs().max()
        ),
        "update_relative": float(torch.linalg.matrix_norm(ours - dense) / torch.linalg.matrix_norm(dense)),
    }


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("bench.factors", description=__doc__)
    parser.add_argument("--layers", type=int, default=32)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument(
        "--sample", type=int, default=1, help="modules to decompose in full (half a minute each)"
    )
    return parser


if __name__ == "__main__":
    main()
