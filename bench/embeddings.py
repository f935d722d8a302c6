"""Which hidden states make the better embeddings: how often a prompt's nearest other prompt is of its own task.

python -m bench.embeddings [--prompts 12]

The demonstration's test prompts, compared by plain cosine, as clients do with what /v1/embeddings gives them.
"""

from __future__ import annotations

import argparse

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from bench.priors import taught
from bench.report import save, show
from demo.tasks import BASE, TASKS
from routing import ComposedModel, Routing, load_base
from routing.embedding import embed
from routing.encoding import BaseEncoder
from routing.layers import routed_by
from routing.routes import Route

POOLED = ("mean of the last", "mean at two thirds", "last token's last")


def main() -> None:
    """Embed every prompt in every way, print the table, write the figures."""
    given = _arguments().parse_args()
    torch.set_num_threads(given.threads)
    model, _ = taught(load_base(str(BASE)))
    asked = [(task.adapter, row.prompt) for task in TASKS for row in task.test_rows[: given.prompts]]
    names, prompts = [name for name, _ in asked], [model.tokens(prompt) for _, prompt in asked]
    ways: dict[str, list[Route | None]] = {
        "the base": [None] * len(prompts),
        "the library's policy": [model.way(prompt) for prompt in prompts],
        "arrow, two experts": [model.way(prompt, Routing("arrow", top_k=2)) for prompt in prompts],
    }
    rows = {who: _judged(model, names, prompts, routes) for who, routes in ways.items()}
    show(
        f"{len(prompts)} prompts of {len(TASKS)} tasks: is the nearest one of the same task?",
        ["embedded by", *POOLED],
        [[who, *(f"{row[pooled]:.1%}" for pooled in POOLED)] for who, row in rows.items()],
    )
    save("embeddings", {"prompts": len(prompts), "tasks": len(TASKS), "rows": rows})


def _judged(
    model: ComposedModel, names: list[str], prompts: list[tuple[int, ...]], routes: list[Route | None]
) -> dict[str, float]:
    embedded = [_pooled(model, prompt, way) for prompt, way in zip(prompts, routes, strict=True)]
    return {
        pooled: _right(names, torch.stack([vectors[place] for vectors in embedded]))
        for place, pooled in enumerate(POOLED)
    }


@torch.inference_mode()
def _pooled(
    model: ComposedModel, prompt: tuple[int, ...], way: Route | None
) -> tuple[Float[Tensor, " width"], ...]:
    """The prompt in each way to pool, the first by what is served."""
    base = model.routed.base
    with routed_by(way, None):
        answer = base.model(input_ids=torch.tensor([prompt]), output_hidden_states=True)
    middle = answer.hidden_states[BaseEncoder(base).layer][0].mean(dim=0)
    last = answer.hidden_states[-1][0, -1]
    return embed(model.routed, prompt, route=way).vector, normalize(middle, dim=0), normalize(last, dim=0)


def _right(names: list[str], vectors: Float[Tensor, "prompts width"]) -> float:
    likeness = vectors @ vectors.T
    nearest = likeness.fill_diagonal_(-1).argmax(dim=1).tolist()
    return sum(names[place] == name for place, name in zip(nearest, names, strict=True)) / len(names)


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("bench.embeddings", description=__doc__)
    parser.add_argument("--prompts", type=int, default=12, help="test prompts of each task, at most")
    parser.add_argument("--threads", type=int, default=1)
    return parser


if __name__ == "__main__":
    main()
