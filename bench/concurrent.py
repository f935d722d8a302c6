"""Many answers at once: tokens per second of the engine with 1 to 16 requests, beside one after another.

python -m bench.concurrent [--size 100M] [--files bfloat16] [--experts 0 16 256] [--requests 1 4 16]

0 experts is the plain base. Every answer must be the one that it is alone, token by token, or the figure is refused.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from random import Random
from typing import Any

import torch

from bench.models import FILES, SHAPES, as_base, as_published, llama, random_pack
from bench.report import save, show
from routing.engine import Engine, Step
from routing.generation import Generation, Request
from routing.laying_out import lay_out
from routing.routed import RoutedModel
from routing.routes import Route, Routing, route
from routing.sampling import Sampling

TOP_K = 2
RANK = 8


@dataclass
class Heard:
    """The tokens of one answer, and when they came."""

    tokens: list[int] = field(default_factory=list)
    times: list[float] = field(default_factory=list)

    def __call__(self, step: Step) -> None:
        if step.error is not None:
            raise step.error
        self.tokens += [token.token for token in step.tokens]
        self.times += [time.perf_counter()] * len(step.tokens)


def main() -> None:
    """Measure each number of experts and requests, print the table, write the figures."""
    given = _arguments().parse_args()
    torch.set_num_threads(given.threads)
    base = as_base(as_published(llama(SHAPES[given.size]), FILES[given.files]))
    lay_out(base.model)
    model = RoutedModel(base)
    rows = [row for experts in given.experts for row in _measured(model, experts, given)]
    show(
        f"{given.size}: answers of {given.tokens} tokens to prompts of 64 to 103, rank {RANK}, top {TOP_K}",
        ["experts", "requests", "tokens/s", "one by one", "ratio", "first token, s", "longest gap / median"],
        [_line(row) for row in rows],
    )
    save(
        f"concurrent-{given.size}",
        {"size": given.size, "files": given.files, "threads": given.threads, "rows": rows},
    )


def _measured(model: RoutedModel, experts: int, given: argparse.Namespace) -> list[dict[str, Any]]:
    way = None if not experts else _way(model, experts)
    prompts = _prompts(max(given.requests), model.base.spec.vocabulary)
    _answers(model, way, prompts[:1], tokens=8)  # warm
    rows = []
    for count in given.requests:
        began = time.perf_counter()
        alone = [_answers(model, way, [prompt], tokens=given.tokens)[0] for prompt in prompts[:count]]
        middle = time.perf_counter()
        together = _answers(model, way, prompts[:count], tokens=given.tokens)
        seconds = time.perf_counter() - middle
        changed = sum(one.tokens != other.tokens for one, other in zip(alone, together, strict=True))
        if changed:
            raise SystemExit(f"{changed} of {count} answers are other ones together: nothing to compare")
        gaps = [later - sooner for one in together for sooner, later in pairwise(one.times)]
        rows.append(
            {
                "experts": experts,
                "requests": count,
                "together": count * given.tokens / seconds,
                "one_by_one": count * given.tokens / (middle - began),
                "first_token": max(one.times[0] for one in together) - middle,
                "gap": max(gaps) / statistics.median(gaps),
            }
        )
    return rows


def _answers(
    model: RoutedModel, way: Route | None, prompts: Sequence[tuple[int, ...]], *, tokens: int
) -> list[Heard]:
    engine, heard = Engine(), [Heard() for _ in prompts]
    requests = [Request(prompt, tokens, route=way, sampling=Sampling(0.0)) for prompt in prompts]
    engine.submit([(Generation(model, request), one) for request, one in zip(requests, heard, strict=True)])
    while engine.step():
        pass
    return heard


def _way(model: RoutedModel, experts: int) -> Route:
    return route(random_pack(model.base.spec, experts, rank=RANK), Routing("arrow", TOP_K))


def _prompts(count: int, vocabulary: int) -> list[tuple[int, ...]]:
    draw = Random(3)
    return [tuple(draw.randrange(vocabulary) for _ in range(draw.randrange(64, 104))) for _ in range(count)]


def _line(row: dict[str, Any]) -> list[str]:
    return [
        str(row["experts"] or "base"),
        str(row["requests"]),
        f"{row['together']:.1f}",
        f"{row['one_by_one']:.1f}",
        f"{row['together'] / row['one_by_one']:.2f}",
        f"{row['first_token']:.2f}",
        f"{row['gap']:.1f}",
    ]


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.concurrent", description=__doc__)
    parser.add_argument("--size", choices=SHAPES, default="100M")
    parser.add_argument("--files", choices=FILES, default="bfloat16", help="which numbers the weights are")
    parser.add_argument("--experts", type=int, nargs="+", default=[0, 16, 256])
    parser.add_argument("--requests", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    return parser


if __name__ == "__main__":
    main()
