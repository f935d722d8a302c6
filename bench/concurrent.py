"""Many answers at once: tokens per second of the engine with 1 to 16 requests, beside one after another.

python -m bench.concurrent [--size 100M] [--files bfloat16] [--experts 0 16 256] [--requests 1 4 16] [--one-each]

0 experts is the plain base. Tokens choose two experts by Arrow; with `--one-each` every request has one expert, each
another, as where a library's routing finds one for each prompt. Every answer must be the one that it is alone, token
by token, or the figure is refused.

The bound is what sharing the weights can give at most on this processor: were each token of an answer to cost what
one of a prompt does. For prompts of P and answers of T tokens it is (P p + T t) / (P p + T p), where alone a token of
a prompt takes p and one of an answer t.
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
from bench.report import named, save, show
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
    """The tokens of one answer, and when they were asked for and came."""

    asked: float
    prompt: int
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
        f"{given.size}: answers of {given.tokens} tokens to prompts of 64 to 103, rank {RANK}, "
        + ("one expert each" if given.one_each else f"top {TOP_K}"),
        [
            "experts",
            "requests",
            "tokens/s",
            "one by one",
            "ratio (bound)",
            "first token, s",
            "longest gap / median",
        ],
        [_line(row) for row in rows],
    )
    save(
        named("concurrent", given, "size", "files", "one_each"),
        {"size": given.size, "files": given.files, "threads": given.threads, "rows": rows},
    )


def _measured(model: RoutedModel, experts: int, given: argparse.Namespace) -> list[dict[str, Any]]:
    prompts = _prompts(max(given.requests), model.base.spec.vocabulary)
    ways = _ways(model, experts, len(prompts), one_each=given.one_each)
    _answers(model, ways[:1], prompts[:1], tokens=8)  # warm
    rows = []
    for count in given.requests:
        began = time.perf_counter()
        asked = list(zip(ways, prompts, strict=True))[:count]
        alone = [_answers(model, [way], [prompt], tokens=given.tokens)[0] for way, prompt in asked]
        middle = time.perf_counter()
        together = _answers(model, ways[:count], prompts[:count], tokens=given.tokens)
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
                "bound": bound(alone),
            }
        )
    return rows


def bound(alone: Sequence[Heard]) -> float:
    """How many times as fast together as alone, if all tokens were read as those of prompts are."""
    prompts = sum(one.times[0] - one.asked for one in alone)
    answers = sum(one.times[-1] - one.times[0] for one in alone)
    read = sum(one.prompt for one in alone)
    written = sum(len(one.tokens) - 1 for one in alone)
    return (prompts + answers) / (prompts * (1 + written / read))


def _answers(
    model: RoutedModel, ways: Sequence[Route | None], prompts: Sequence[tuple[int, ...]], *, tokens: int
) -> list[Heard]:
    engine, began = Engine(), time.perf_counter()
    heard = [Heard(began, len(prompt)) for prompt in prompts]
    requests = [
        Request(prompt, tokens, route=way, sampling=Sampling(0.0))
        for way, prompt in zip(ways, prompts, strict=True)
    ]
    engine.submit([(Generation(model, request), one) for request, one in zip(requests, heard, strict=True)])
    while engine.step():
        pass
    return heard


def _ways(model: RoutedModel, experts: int, requests: int, *, one_each: bool) -> list[Route | None]:
    if not experts:
        return [None] * requests
    pack = random_pack(model.base.spec, experts, rank=RANK)
    if not one_each:
        return [route(pack, Routing("arrow", TOP_K))] * requests
    names = [pack.experts[place % experts] for place in range(requests)]
    return [route(pack, Routing("arrow", 1, experts=(name,))) for name in names]


def _prompts(count: int, vocabulary: int) -> list[tuple[int, ...]]:
    draw = Random(3)
    return [tuple(draw.randrange(vocabulary) for _ in range(draw.randrange(64, 104))) for _ in range(count)]


def _line(row: dict[str, Any]) -> list[str]:
    return [
        str(row["experts"] or "base"),
        str(row["requests"]),
        f"{row['together']:.1f}",
        f"{row['one_by_one']:.1f}",
        f"{row['together'] / row['one_by_one']:.2f} ({row['bound']:.2f})",
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
    parser.add_argument("--one-each", action="store_true", help="one expert for each request")
    parser.add_argument("--threads", type=int, default=1)
    return parser


if __name__ == "__main__":
    main()
