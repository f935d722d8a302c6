"""What routing costs: seconds of a step of the engine with experts, beside the same engine without, and the bound.

python -m bench.engine [--size 100M] [--files bfloat16] [--weights auto] [--experts 4 16] [--batches 1 8 16]

Each is said as times the base as it is laid out, with the bound, and as times the base as it is stored: laid
out at half its width the base costs half, experts in float32 what they did. The bound is what the bytes and
products of routing and mixing cost if they ran as fast as the base's own: of a batch of T tokens that chooses k of
E experts of rank r, a linear d_in -> d_out reads E / d_out + U r (1 / d_in + 1 / d_out) times its own numbers more,
with U = E (1 - (1 - k / E)^T) distinct experts, and a number of a base at half the width is half as much to read;
a prompt multiplies E / d_out + k r (1 / d_in + 1 / d_out) times its own numbers more.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any

import torch

from bench.models import FILES, SHAPES, as_base, as_published, llama, random_pack
from bench.report import named, save, show
from bench.routed_vs_peft import CLOCKS, Clock
from routing.laying_out import lay_out
from routing.layouts import AUTO, parsed
from routing.pack import Pack
from routing.ragged import Strand
from routing.routed import RoutedModel
from routing.routes import Route, Routing, route
from routing.together import Reading, read_together

TOP_K = 2
RANK = 8
CONTEXT = 64  # tokens that are read before a step is timed
Step = Callable[[], None]


def main() -> None:
    """Measure every number of experts in turn, print the table, write the figures."""
    given = _arguments().parse_args()
    torch.set_num_threads(given.threads)
    model = RoutedModel(as_base(as_published(llama(SHAPES[given.size]), FILES[given.files])))
    if not model.reads_together:  # asking sets its attention to the engine's: without, strands stay empty
        raise SystemExit("this base does not read together, so it has no step of the engine to measure")
    clock = CLOCKS[given.clock]
    stored = {name: step(model, None) for name, step in phases(given)}
    before = {name: min(timed(step, clock) for _ in range(given.repeats)) for name, step in stored.items()}
    lay_out(model.base.model, parsed(given.weights))
    packs = {count: random_pack(model.base.spec, count, rank=RANK) for count in given.experts}
    rows = [_row(name, step, model, packs, before[name], given) for name, step in phases(given)]
    show(
        f"{given.size}: milliseconds of a step, and times the base of the same engine (bound) / as stored, "
        f"rank {RANK}, top {TOP_K}",
        ["phase", "base as stored", "base", *(f"{count} experts" for count in given.experts)],
        [_line(row) for row in rows],
    )
    save(
        named("engine", given, "size", "files", "weights"),
        {
            "size": given.size,
            "files": given.files,
            "layouts": model.layouts,
            "threads": given.threads,
            "clock": given.clock,
            "prompt": given.prompt,
            "rows": rows,
        },
    )


def bound(model: RoutedModel, experts: int, tokens: int, *, prompt: bool) -> float:
    """Routed / base, if every byte (of a prompt: every product) of routing cost what one of the base's does."""
    base = model.base.model
    whole = sum(layer.d_in * layer.d_out for layer in model.base.spec.target_modules)
    head = base.config.hidden_size * base.config.vocab_size
    read = TOP_K if prompt else experts * (1 - (1 - TOP_K / experts) ** tokens)
    more = sum(
        layer.d_in * experts + read * RANK * (layer.d_in + layer.d_out)
        for layer in model.base.spec.target_modules
    )
    own = whole + head / (tokens if prompt else 1)
    return 1 + more / (own if prompt else own * width_of(model))


def width_of(model: RoutedModel) -> float:
    """Of a number of the base's weights, as a part of a float32's."""
    layouts = model.layouts
    return 1 - layouts.get("halves", 0) / sum(layouts.values()) / 2


def phases(given: argparse.Namespace) -> Sequence[tuple[str, Callable[[RoutedModel, Route | None], Step]]]:
    """What is timed, by name: how a step of it is made ready for a model and a route."""
    decoding = [(f"decode, {count} at once", _decoding(count)) for count in given.batches]
    return [*decoding, (f"prompt of {given.prompt}", _reading(given.prompt))]


def _decoding(count: int) -> Callable[[RoutedModel, Route | None], Step]:
    def prepared(model: RoutedModel, way: Route | None) -> Step:
        strands = [Strand() for _ in range(count)]
        for place, strand in enumerate(strands):
            read_together(model, [Reading(tokens(CONTEXT, place), strand, way)])

        def step() -> None:
            read_together(model, [Reading((5 + place,), strand, way) for place, strand in enumerate(strands)])

        return step

    return prepared


def _reading(length: int) -> Callable[[RoutedModel, Route | None], Step]:
    def prepared(model: RoutedModel, way: Route | None) -> Step:
        return lambda: _read(model, way, length)

    return prepared


def _read(model: RoutedModel, way: Route | None, length: int) -> None:
    read_together(model, [Reading(tokens(length, 1), Strand(), way)])


def _row(
    name: str,
    prepared: Callable[[RoutedModel, Route | None], Step],
    model: RoutedModel,
    packs: dict[int, Pack],
    stored: float,
    given: argparse.Namespace,
) -> dict[str, Any]:
    """One phase: base and every number of experts take turns; the fastest step of each counts."""
    ways: dict[int, Route | None] = {0: None}
    ways |= {count: route(pack, Routing("arrow", TOP_K)) for count, pack in packs.items()}
    steps = {count: prepared(model, way) for count, way in ways.items()}
    best = dict.fromkeys(steps, float("inf"))
    for _ in range(given.repeats):
        for count, step in steps.items():
            best[count] = min(best[count], timed(step, CLOCKS[given.clock]))
    prompt = name.startswith("prompt")
    tokens = given.prompt if prompt else int(name.split()[1])
    return {
        "phase": name,
        "stored_ms": stored * 1e3,
        "base_ms": best[0] * 1e3,
        "experts": {
            str(count): {
                "ms": best[count] * 1e3,
                "ratio": best[count] / best[0],
                "bound": bound(model, count, tokens, prompt=prompt),
            }
            for count in packs
        },
    }


def timed(step: Step, clock: Clock) -> float:
    """Seconds of one step."""
    began = clock()
    step()
    return clock() - began


def tokens(count: int, seed: int) -> tuple[int, ...]:
    """Random ones."""
    return tuple(torch.randint(1000, (count,), generator=torch.Generator().manual_seed(seed)).tolist())


def _line(row: dict[str, Any]) -> list[str]:
    ratios = [
        f"{one['ratio']:.2f} ({one['bound']:.2f}) / {one['ms'] / row['stored_ms']:.2f}"
        for one in row["experts"].values()
    ]
    return [row["phase"], f"{row['stored_ms']:.1f}", f"{row['base_ms']:.1f}", *ratios]


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.engine",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--size", choices=SHAPES, default="100M")
    parser.add_argument("--files", choices=FILES, default="bfloat16", help="which numbers the weights are")
    parser.add_argument("--weights", nargs="+", default=[AUTO], help="as the serving process has it")
    parser.add_argument("--experts", type=int, nargs="+", default=[4, 16, 64, 256])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 16])
    parser.add_argument("--prompt", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: beside busy neighbours")
    return parser


if __name__ == "__main__":
    main()
