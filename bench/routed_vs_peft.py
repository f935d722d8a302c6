"""Tokens per second of the plain base, of our routed model and of peft's Arrow, in one process on the same weights.

python -m bench.routed_vs_peft [--size small] [--experts 4 16 64 256]
"""

from __future__ import annotations

import argparse
import gc
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from transformers import DynamicCache, LlamaForCausalLM

from bench.models import SHAPES, as_base, llama, random_pack
from bench.peft_arrow import peft_arrow
from bench.report import save, show
from routing.layers import routed_by
from routing.laying_out import lay_out
from routing.routed import RoutedModel
from routing.routes import Route, Routing, route

TOP_K = 2
RANK = 8
EQUAL = 1e-3  # largest difference of logits that float32 sums in another order may make here
Forward = Callable[..., Any]
Clock = Callable[[], float]
# Seconds of the processor are those of the wall on an idle machine, and stay right beside busy neighbours.
CLOCKS: Mapping[str, Clock] = {"wall": time.perf_counter, "cpu": time.process_time}


@dataclass(frozen=True)
class Rival:
    """One of the models that take turns."""

    name: str
    forward: Forward


def main() -> None:
    """Measure each number of experts, print the table, write the figures."""
    given = _arguments().parse_args()
    torch.set_num_threads(given.threads)
    model = llama(SHAPES[given.size])
    rows = [measure(model, experts, given) for experts in given.experts]
    show(
        f"{given.size}: tokens per second, rank {RANK}, top {TOP_K}, {given.prompt} prompt tokens",
        ["experts", "phase", "base", "ours", "peft", "ours / base", "peft / base", "ours / peft"],
        [line for row in rows for line in _lines(row)],
    )
    save(
        f"routed_vs_peft-{given.size}",
        {"size": given.size, "prompt": given.prompt, "clock": given.clock, "rows": rows},
    )


def measure(model: LlamaForCausalLM, experts: int, given: argparse.Namespace) -> dict[str, Any]:
    """Figures for one number of experts; refuses to time models that do not say the same."""
    ours = RoutedModel(as_base(deepcopy(model)))
    lay_out(ours.base.model)
    pack = random_pack(ours.base.spec, experts, rank=RANK)
    way = route(pack, Routing("arrow", TOP_K))
    theirs = peft_arrow(deepcopy(model), pack, rank=RANK, top_k=TOP_K)
    rivals = [Rival("base", model), Rival("ours", _routed(ours, way)), Rival("peft", theirs)]
    ids = torch.randint(
        0, model.config.vocab_size, (1, given.prompt), generator=torch.Generator().manual_seed(2)
    )
    clock = CLOCKS[given.clock]
    with torch.inference_mode():
        difference = (rivals[1].forward(ids).logits - rivals[2].forward(ids).logits).abs().max().item()
        if difference > EQUAL:
            raise SystemExit(f"ours and peft's logits differ by {difference}: nothing to compare")
        phases = {
            "prefill": _in_turn(rivals, lambda rival: _prefill(rival, ids, clock), given.repeats),
            "decode": _in_turn(rivals, lambda rival: _decode(rival, ids, given.tokens, clock), given.repeats),
        }
    del theirs, rivals, ours, pack, way
    gc.collect()
    return {"experts": experts, "largest_difference": difference, **phases}


def _routed(model: RoutedModel, way: Route) -> Forward:
    def forward(ids: torch.Tensor, **options: Any) -> Any:
        with routed_by(way):
            return model.base.model(ids, **options)

    return forward


def _in_turn(rivals: Sequence[Rival], run: Callable[[Rival], float], repeats: int) -> dict[str, float]:
    """The median of each rival's tokens per second; they take turns, so that a busy machine is busy for all."""
    found: dict[str, list[float]] = {rival.name: [] for rival in rivals}
    for turn in range(repeats + 1):
        for rival in rivals:
            speed = run(rival)
            if turn:  # the first turn warms up
                found[rival.name].append(speed)
    return {name: statistics.median(speeds) for name, speeds in found.items()}


def _prefill(rival: Rival, ids: torch.Tensor, clock: Clock) -> float:
    started = clock()
    rival.forward(ids, use_cache=False, logits_to_keep=1)
    return ids.shape[1] / (clock() - started)


def _decode(rival: Rival, ids: torch.Tensor, tokens: int, clock: Clock) -> float:
    cache = DynamicCache()
    rival.forward(ids[:, :16], past_key_values=cache, use_cache=True, logits_to_keep=1)
    started = clock()
    for place in range(tokens):
        rival.forward(ids[:, place : place + 1], past_key_values=cache, use_cache=True, logits_to_keep=1)
    return tokens / (clock() - started)


def _lines(row: Mapping[str, Any]) -> list[list[str]]:
    lines = []
    for phase in ("prefill", "decode"):
        base, ours, theirs = (row[phase][name] for name in ("base", "ours", "peft"))
        speeds = [f"{speed:.4g}" for speed in (base, ours, theirs)]
        ratios = [f"{value:.2f}" for value in (ours / base, theirs / base)]
        lines.append([str(row["experts"]), phase, *speeds, *ratios, f"{ours / theirs:.1f} x"])
    return lines


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("bench.routed_vs_peft", description=__doc__)
    parser.add_argument("--size", choices=sorted(SHAPES), default="small")
    parser.add_argument("--experts", type=int, nargs="+", default=[4, 16, 64, 256])
    parser.add_argument("--prompt", type=int, default=64, help="tokens of a prompt")
    parser.add_argument("--tokens", type=int, default=16, help="tokens to decode")
    parser.add_argument("--clock", choices=sorted(CLOCKS), default="wall", help="cpu: for one thread only")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--threads", type=int, default=max(1, (os.cpu_count() or 2) - 1), help="all cores but one"
    )
    return parser


if __name__ == "__main__":
    main()
