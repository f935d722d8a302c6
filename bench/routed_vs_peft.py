"""Answers by the plain base, by what serves our routed model, and by peft's Arrow: one process, the same weights.

python -m bench.routed_vs_peft [--size small] [--files bfloat16] [--experts 4 16 64 256] [--prompt 64]

Each answers one prompt greedily, token by token. Ours goes through the serving engine, spelling and counting
included, on a base that is laid out for this processor; the base as stored and peft go through transformers'
cache. The tokens of ours must be peft's, or nothing is compared. All hold the same experts' numbers in float32;
what each takes beyond them while it answers is told too.
"""

from __future__ import annotations

import argparse
import gc
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import torch
from transformers import DynamicCache, LlamaForCausalLM

from bench.models import FILES, SHAPES, as_base, as_published, llama, random_pack
from bench.peft_arrow import peft_arrow
from bench.report import named, save, show
from routing.engine import Engine, Step
from routing.generation import Generation, Request
from routing.layers import routed_by
from routing.laying_out import lay_out, layouts_of
from routing.peak_memory import begin, peak_bytes
from routing.routed import RoutedModel
from routing.routes import Route, Routing, route
from routing.sampling import Sampling

TOP_K = 2
RANK = 8
CPU = torch.device("cpu")
EQUAL = 1e-3  # largest difference of logits that float32 sums in another order may make here
Forward = Callable[..., Any]
Clock = Callable[[], float]
# Seconds of the processor are those of the wall on an idle machine, and stay right beside busy neighbours.
CLOCKS: Mapping[str, Clock] = {"wall": time.perf_counter, "cpu": time.process_time}


@dataclass(frozen=True)
class Question:
    """What all are asked, and the clock that they are timed by."""

    prompt: tuple[int, ...]
    tokens: int
    clock: Clock


@dataclass(frozen=True)
class Answer:
    """The tokens that were said, and when: the first moment is when the question was asked.

    `working_bytes` are what the process had at most meanwhile, beyond what it had before.
    """

    said: tuple[int, ...]
    moments: tuple[float, ...]
    working_bytes: int = 0

    @property
    def prefill(self) -> float:
        """Seconds to the first token."""
        return self.moments[1] - self.moments[0]

    @property
    def decode(self) -> float:
        """Seconds of each later token, the median of this answer."""
        return statistics.median(later - sooner for sooner, later in pairwise(self.moments[1:]))


Rival = Callable[[Question], Answer]


def main() -> None:
    """Measure each number of experts, print the table, write the figures."""
    given = _arguments().parse_args()
    torch.set_num_threads(given.threads)
    model = as_published(llama(SHAPES[given.size]), FILES[given.files])
    model.generation_config.eos_token_id = None  # every answer has its full length
    rows = []
    for experts in given.experts:
        rows.append(measure(model, experts, given))
        gc.collect()  # models hold themselves in circles, and the next is as large
    show(
        f"{given.size}: tokens per second, rank {RANK}, top {TOP_K}, {given.prompt} prompt tokens",
        ["experts", "phase", "base", "ours", "peft", "ours / base", "peft / base", "ours / peft"],
        [line for row in rows for line in _lines(row)],
    )
    figures = {
        "size": given.size,
        "prompt": given.prompt,
        "tokens": given.tokens,
        "clock": given.clock,
        "files": given.files,
    }
    save(named("routed_vs_peft", given, "size", "files", "prompt"), {**figures, "rows": rows})


def measure(model: LlamaForCausalLM, experts: int, given: argparse.Namespace) -> dict[str, Any]:
    """Figures for one number of experts; refuses to time models that do not say the same."""
    ours = RoutedModel(as_base(deepcopy(model)))
    if not ours.reads_together:  # asking also gives it the engine's attention
        raise SystemExit(
            "this base does not read together, so the engine would not serve it as it serves others"
        )
    lay_out(ours.base.model)
    pack = random_pack(ours.base.spec, experts, rank=RANK)
    way = route(pack, Routing("arrow", TOP_K))
    theirs = peft_arrow(deepcopy(model), pack, rank=RANK, top_k=TOP_K)
    draw = torch.Generator().manual_seed(2)
    ids = torch.randint(0, model.config.vocab_size, (1, given.prompt), generator=draw)
    question = Question(tuple(ids[0].tolist()), given.tokens, CLOCKS[given.clock])
    with torch.inference_mode():
        difference = (_logits(ours, way, ids) - theirs(ids).logits).abs().max().item()
        if difference > EQUAL:
            raise SystemExit(f"ours and peft's logits differ by {difference}: nothing to compare")
        rivals: dict[str, Rival] = {
            "base": lambda asked: by_transformers(model, asked),
            "ours": lambda asked: by_engine(ours, way, asked),
            "peft": lambda asked: by_transformers(theirs, asked),
        }
        answers = _in_turn(rivals, question, given.repeats)
    if answers["ours"][0].said != answers["peft"][0].said:
        raise SystemExit("ours and peft's answers are other tokens: nothing to compare")
    layouts, figures = layouts_of(ours.base.model), _figures(answers, given.prompt)
    return {"experts": experts, "largest_difference": difference, "layouts": layouts, **figures}


def by_engine(model: RoutedModel, way: Route | None, question: Question) -> Answer:
    """An answer as the serving process gives it."""
    said: list[int] = []
    moments = [question.clock()]

    def hear(step: Step) -> None:
        if step.error is not None:
            raise step.error
        said.extend(token.token for token in step.tokens)
        moments.extend([question.clock()] * len(step.tokens))

    engine = Engine()
    request = Request(question.prompt, question.tokens, route=way, sampling=Sampling(0.0))
    engine.submit([(Generation(model, request), hear)])
    while engine.step():
        pass
    return Answer(tuple(said), tuple(moments))


def by_transformers(forward: Forward, question: Question) -> Answer:
    """An answer through transformers' cache, greedily, with nothing between its passes."""
    said: list[int] = []
    moments = [question.clock()]
    cache, ids = DynamicCache(), torch.tensor([question.prompt])
    while len(said) < question.tokens:
        logits = forward(ids, past_key_values=cache, use_cache=True, logits_to_keep=1).logits
        said.append(int(logits[0, -1].argmax()))
        moments.append(question.clock())
        ids = torch.tensor([said[-1:]])
    return Answer(tuple(said), tuple(moments))


def _logits(model: RoutedModel, way: Route, ids: torch.Tensor) -> torch.Tensor:
    with routed_by(way):
        logits: torch.Tensor = model.base.model(ids).logits
    return logits


def _in_turn(rivals: Mapping[str, Rival], question: Question, repeats: int) -> dict[str, list[Answer]]:
    """Each rival's answers; they take turns, so that a busy machine is busy for all. The first turn warms up."""
    turns = [{name: _watched(rival, question) for name, rival in rivals.items()} for _ in range(repeats + 1)]
    return {name: [turn[name] for turn in turns[1:]] for name in rivals}


def _watched(rival: Rival, question: Question) -> Answer:
    begin(CPU)
    before = peak_bytes(CPU)
    answer = rival(question)
    return replace(answer, working_bytes=peak_bytes(CPU) - before)


def _figures(answers: Mapping[str, Sequence[Answer]], prompt: int) -> dict[str, dict[str, float]]:
    """Tokens per second by phase and rival, medians over the answers; the most working memory of any."""
    return {
        "working_megabytes": {
            name: max(one.working_bytes for one in each) / 1e6 for name, each in answers.items()
        },
        "prefill": {
            name: prompt / statistics.median(one.prefill for one in each) for name, each in answers.items()
        },
        "decode": {name: 1 / statistics.median(one.decode for one in each) for name, each in answers.items()},
    }


def _lines(row: Mapping[str, Any]) -> list[list[str]]:
    lines = []
    for phase in ("prefill", "decode"):
        base, ours, theirs = (row[phase][name] for name in ("base", "ours", "peft"))
        speeds = [f"{speed:.4g}" for speed in (base, ours, theirs)]
        ratios = [f"{value:.2f}" for value in (ours / base, theirs / base)]
        lines.append([str(row["experts"]), phase, *speeds, *ratios, f"{ours / theirs:.1f} x"])
    memory = [f"{row['working_megabytes'][name]:.0f} MB" for name in ("base", "ours", "peft")]
    return [*lines, [str(row["experts"]), "more memory", *memory, "", "", ""]]


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.routed_vs_peft",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--size", choices=sorted(SHAPES), default="small")
    parser.add_argument("--files", choices=FILES, default="bfloat16", help="which numbers the weights are")
    parser.add_argument("--experts", type=int, nargs="+", default=[4, 16, 64, 256])
    parser.add_argument("--prompt", type=int, default=64, help="tokens of a prompt")
    parser.add_argument("--tokens", type=int, default=32, help="tokens of an answer")
    parser.add_argument("--clock", choices=sorted(CLOCKS), default="wall", help="cpu: for one thread only")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--threads", type=int, default=max(1, (os.cpu_count() or 2) - 1), help="all cores but one"
    )
    return parser


if __name__ == "__main__":
    main()
