"""What routing costs on a GPU: seconds of a pass of a Llama with experts, beside the same pass without, and the bound.

python -m bench.gpu [--size 1B 8B] [--experts 16 256 4096] [--batches 1 8 64] [--prompts 2048 8192]
python -m bench.gpu --device cpu --size tiny --experts 16 --prompts 64    tries the command where no GPU is

Random weights in bfloat16, experts on all seven linears, random too: so tokens spread evenly over them, which is
the worst case for caches. First the kernels must mix as float64 does on the real widths, or nothing is timed.

The bound is what routing costs if its bytes (of a prompt: its products) cost what the base's own do: one token's
linear d_in -> d_out reads 2 d_in d_out bytes, and for E experts of rank r, of which U = E (1 - (1 - k / E)^T) are
chosen by T tokens, 4 E d_in + 2 U r (d_in + d_out) more; a prompt's token multiplies E d_in + k r (d_in + d_out)
numbers more than d_in d_out.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import torch

from bench.models import SHAPES, as_base, llama, pack_on_device
from bench.report import save, show
from routing import accelerated
from routing.base import Base
from routing.capturing import decoder_for
from routing.fixed_routes import everywhere
from routing.graphs import Decoder
from routing.mixing import add_mixture
from routing.pack import ModulePack, Pack
from routing.ragged import Strand
from routing.routed import RoutedModel
from routing.routers import Selection
from routing.routes import Route, Routing, route
from routing.together import Reading, read_together

TOP_K = 2
CONTEXT = 64  # tokens that are read before a step is timed
CHECKED = 3, 200  # tokens that the kernels mix before anything is timed
SPARED = 2 * 2**30  # bytes that a pass needs beside weights and experts
DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}
Step = Callable[[], object]
Ways = Sequence[Route | None]  # of answers, in turn


@dataclass(frozen=True)
class Phase:
    """One kind of pass: a token each of `tokens` answers, or a prompt of `tokens`."""

    tokens: int
    prompt: bool

    @property
    def name(self) -> str:
        """As the table says it."""
        return f"prompt of {self.tokens}" if self.prompt else f"decode, {self.tokens} at once"


@dataclass(frozen=True)
class Decoders:
    """Who decodes by CUDA graphs: nobody's answers, Arrow's, those of an expert each; None where none do."""

    base: Decoder | None = None
    routed: Decoder | None = None
    chosen: Decoder | None = None


def main() -> None:
    """Measure each size with each number of experts, print a table for each size, write the figures."""
    given = _arguments().parse_args()
    if given.device.startswith("cuda") and not torch.cuda.is_available():
        raise SystemExit(
            "bench.gpu measures a GPU, and torch finds none here; to try the command itself: "
            "python -m bench.gpu --device cpu --size tiny --experts 16 --prompts 64"
        )
    device = torch.device(given.device)
    phases = [Phase(count, prompt=False) for count in given.batches]
    phases += [Phase(length, prompt=True) for length in given.prompts]
    for size in given.size:
        measured = _measured(size, device, phases, given)
        show(
            f"{size} in {given.dtype} on {_name(device)}: milliseconds of a pass, and times the base; "
            f"rank {given.rank}, top {TOP_K}",
            [
                *("phase", "experts", "base", "routed", "ratio", "bound", "torch alone"),
                *("base, graph", "routed, graph", "ratio, graphs"),
                *("an expert each", "an expert each, graph"),
            ],
            [_line(row) for row in measured["rows"]],
        )
        save(
            f"gpu-{size}-{given.dtype}",
            {"size": size, "dtype": given.dtype, "device": _name(device), **measured},
        )


def bound(base: Base, phase: Phase, experts: int, rank: int) -> float:
    """Routed / base, if what routing reads (of a prompt: multiplies) cost what as much of the base's does."""
    config: Any = base.model.config
    targets = base.spec.target_modules
    head = config.hidden_size * config.vocab_size
    if phase.prompt:
        more = sum(one.d_in * experts + TOP_K * rank * (one.d_in + one.d_out) for one in targets)
        return 1 + more / (sum(one.d_in * one.d_out for one in targets) + head / phase.tokens)
    distinct = experts * (1 - (1 - min(TOP_K, experts) / experts) ** phase.tokens)
    number = base.dtype.itemsize
    read = sum(
        torch.float32.itemsize * experts * one.d_in + number * distinct * rank * (one.d_in + one.d_out)
        for one in targets
    )
    return 1 + read / (number * (sum(one.d_in * one.d_out for one in targets) + head))


def _measured(
    size: str, device: torch.device, phases: Sequence[Phase], given: argparse.Namespace
) -> dict[str, Any]:
    model = RoutedModel(as_base(llama(SHAPES[size], device=device, dtype=DTYPES[given.dtype])))
    if not model.reads_together:
        raise SystemExit(f"{size} in {given.dtype}: its answers cannot be read together here")
    device = model.base.device  # with its number
    on_gpu = device.type == accelerated.DEVICE
    kernels = accelerated.kernels(device, model.base.dtype) if on_gpu else None
    most = max((phase.tokens for phase in phases if not phase.prompt), default=1)
    plain = decoder_for(model, None, most=most) if on_gpu else None
    rows: list[dict[str, Any]] = []
    checks: list[dict[str, Any]] = []
    for experts in given.experts:
        needed, free = _bytes_of_pack(model.base, experts, given.rank), _free(device)
        if needed + SPARED > free:
            rows += [
                {"phase": one.name, "experts": experts, "needed": needed, "free": free} for one in phases
            ]
            continue
        pack = pack_on_device(
            model.base.spec, experts, rank=given.rank, device=device, dtype=model.base.dtype
        )
        if kernels is not None:
            checks += [checked(module) for module in _of_different_widths(list(pack.modules.values()))]
        way = route(pack, Routing("arrow", TOP_K))
        graphs = Decoders()
        if on_gpu:
            chosen = decoder_for(model, everywhere(pack), slots=1, most=most)
            graphs = Decoders(plain, decoder_for(model, way, most=most), chosen)
        for phase in phases:
            rows.append(_row(model, way, phase, experts, given, graphs, by_kernels=kernels is not None))
        del pack, way, graphs
        if device.type == "cuda":
            torch.cuda.empty_cache()
    return {"kernels": kernels is not None, "checks": checks, "rows": rows}


@torch.inference_mode()
def checked(module: ModulePack) -> dict[str, Any]:
    """How far the kernels are from float64 at this module, and whether a token gets the same bits alone.

    SystemExit if they are too far: there is nothing to time then.
    """
    draw = torch.Generator(module.a.device).manual_seed(2)
    most, same = 0.0, True
    for tokens in CHECKED:
        hidden = torch.randn(tokens, module.a.shape[1], generator=draw, device=module.a.device)
        hidden = hidden.to(module.a.dtype)
        selection, output = _mixed(module, hidden)
        wanted = _in_float64(module, hidden, selection)
        off = float((output.double() - wanted).abs().max() / wanted.abs().max())
        if not off <= accelerated.TOLERANCE[module.a.dtype]:
            raise SystemExit(
                f"{tokens} tokens, {len(module)} experts: off by {off:.2g} of the largest number"
            )
        chosen, alone = _mixed(module, hidden[-1:].contiguous())
        most = max(most, off)
        same &= torch.equal(alone, output[-1:]) and torch.equal(chosen.experts, selection.experts[-1:])
    return {"experts": len(module), "d_in": module.a.shape[1], "off": most, "same_bits_alone": same}


def _mixed(module: ModulePack, hidden: torch.Tensor) -> tuple[Selection, torch.Tensor]:
    output = hidden.new_zeros(len(hidden), module.b.shape[1])
    kernels = accelerated.kernels_for(TOP_K, hidden, output, module.a)
    assert kernels is not None
    selection: Selection = kernels.arrow(hidden, module, 1.0, TOP_K)
    add_mixture(output, hidden, selection, module)
    return selection, output


def _in_float64(module: ModulePack, hidden: torch.Tensor, found: Selection) -> torch.Tensor:
    """The mixture by the formula, expert by expert; SystemExit if other experts have larger scores."""
    scores = (hidden.double() @ module.vectors.prototypes.double().T).abs()
    kept = scores.topk(found.experts.shape[1]).values
    off = float((scores.gather(1, found.experts) - kept).abs().max() / kept.max())
    if not off <= accelerated.TOLERANCE[torch.float32]:
        raise SystemExit(f"{len(module)} experts: a chosen score is {off:.2g} of the largest below the best")
    total = hidden.new_zeros(len(hidden), module.b.shape[1], dtype=torch.float64)
    for place, weights in enumerate(kept.softmax(-1).T):
        for expert in found.experts[:, place].unique().tolist():
            mine, rows = found.experts[:, place] == expert, module.rows_of(expert)
            inside = hidden[mine].double() @ module.a[rows].double().T
            total[mine] += weights[mine].unsqueeze(1) * (inside @ module.b[rows].double())
    return total


def _row(
    model: RoutedModel,
    way: Route,
    phase: Phase,
    experts: int,
    given: argparse.Namespace,
    graphs: Decoders,
    *,
    by_kernels: bool,
) -> dict[str, Any]:
    """One phase: base, routed, all by graphs, and routed by torch alone take turns; the fastest pass counts."""
    turns: dict[str, tuple[Step, bool]] = {
        "base": (_step(model, [None], phase), True),
        "routed": (_step(model, [way], phase), True),
    }
    each = [] if phase.prompt else _an_expert_each(way.pack, phase)
    if each:
        turns["chosen"] = (_step(model, each, phase), True)
    decoded: list[tuple[str, Decoder | None, Ways]] = [
        ("base_graph", graphs.base, [None]),
        ("graph", graphs.routed, [way]),
        ("chosen_graph", graphs.chosen, each),
    ]
    for name, decoder, ways in decoded:
        if decoder is not None and not phase.prompt:
            turns[name] = (_replays(model, decoder, ways, phase), True)
    if by_kernels:
        turns["by_torch"] = (_step(model, [way], phase), False)
    best = dict.fromkeys(turns, math.inf)
    began = time.perf_counter()
    for turn in range(given.repeats):
        for name, (step, kernels) in turns.items():
            with nullcontext() if kernels else torch_alone():
                best[name] = min(best[name], _timed(step, model.base.device))
        if turn and time.perf_counter() - began > given.seconds:
            break
    return {
        "phase": phase.name,
        "experts": experts,
        "bound": bound(model.base, phase, experts, given.rank),
        **{f"{name}_ms": seconds * 1e3 for name, seconds in best.items()},
    }


def _an_expert_each(pack: Pack, phase: Phase) -> list[Route | None]:
    """As prompts choose by a short list of one: the answers' experts are others."""
    names = [pack.experts[place % len(pack.experts)] for place in range(phase.tokens)]
    return [route(pack, Routing("single", 1, experts=(name,))) for name in names]


def _step(model: RoutedModel, ways: Ways, phase: Phase) -> Step:
    if phase.prompt:
        tokens = _tokens(phase.tokens, 1)
        return lambda: read_together(model, [Reading(tokens, Strand(), ways[0])])
    strands = _begun(model, ways, phase)
    return lambda: read_together(
        model,
        [Reading((5 + place,), strand, ways[place % len(ways)]) for place, strand in enumerate(strands)],
    )


def _replays(model: RoutedModel, decoder: Decoder, ways: Ways, phase: Phase) -> Step:
    strands, tokens = _begun(model, ways, phase), [5 + place for place in range(phase.tokens)]
    if decoder.slots:
        fixed = [None if way is None else way.fixed for way in ways]
        return lambda: decoder.step(tokens, strands, None, fixed)
    return lambda: decoder.step(tokens, strands, None if ways[0] is None else ways[0].pack)


def _begun(model: RoutedModel, ways: Ways, phase: Phase) -> list[Strand]:
    """The memories of answers that have read `CONTEXT` tokens."""
    strands = [Strand() for _ in range(phase.tokens)]
    readings = [
        Reading(_tokens(CONTEXT, place), strand, ways[place % len(ways)])
        for place, strand in enumerate(strands)
    ]
    read_together(model, readings)
    return strands


def _timed(step: Step, device: torch.device) -> float:
    _wait(device)
    began = time.perf_counter()
    step()
    _wait(device)
    return time.perf_counter() - began


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextmanager
def torch_alone() -> Iterator[None]:
    """Inside, no device is one for the kernels."""
    with patch.object(accelerated, "DEVICE", "none"):
        yield


def _of_different_widths(modules: Sequence[ModulePack]) -> list[ModulePack]:
    return list({(one.a.shape[1], one.b.shape[1]): one for one in modules}.values())


def _bytes_of_pack(base: Base, experts: int, rank: int) -> int:
    each = sum(
        torch.float32.itemsize * one.d_in + base.dtype.itemsize * rank * (one.d_in + one.d_out)
        for one in base.spec.target_modules
    )
    return experts * each


def _free(device: torch.device) -> float:
    return float(torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else math.inf


def _name(device: torch.device) -> str:
    return (
        torch.cuda.get_device_name(device) if device.type == "cuda" else "a CPU, which says nothing of a GPU"
    )


def _tokens(count: int, seed: int) -> tuple[int, ...]:
    return tuple(torch.randint(1000, (count,), generator=torch.Generator().manual_seed(seed)).tolist())


def _line(row: dict[str, Any]) -> list[str]:
    known = [row["phase"], str(row["experts"])]
    if "needed" in row:
        return [
            *known,
            "-",
            f"needs {row['needed'] / 2**30:.0f} of {row['free'] / 2**30:.0f} GiB",
            *["-"] * 8,
        ]
    base = row["base_ms"]
    alone = f"{row['by_torch_ms'] / base:.2f}" if "by_torch_ms" in row else "-"
    ratio = f"{row['routed_ms'] / base:.2f}"
    figures = [f"{base:.2f}", f"{row['routed_ms']:.2f}", ratio, f"{row['bound']:.2f}", alone]
    graphs = [f"{row[name]:.2f}" if name in row else "-" for name in ("base_graph_ms", "graph_ms")]
    both = f"{row['graph_ms'] / row['base_graph_ms']:.2f}" if "-" not in graphs else "-"
    chosen = [f"{row[name]:.2f}" if name in row else "-" for name in ("chosen_ms", "chosen_graph_ms")]
    return [*known, *figures, *graphs, both, *chosen]


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.gpu",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--size", choices=SHAPES, nargs="+", default=["1B", "8B"])
    parser.add_argument("--experts", type=int, nargs="+", default=[16, 256, 4096])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--prompts", type=int, nargs="+", default=[2048, 8192])
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--dtype", choices=DTYPES, default="bfloat16")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1 ...; cpu to try the command")
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument(
        "--seconds", type=float, default=8.0, help="at most so long for a row, two turns at least"
    )
    return parser


if __name__ == "__main__":
    main()
