"""How well prompts are judged by vectors at some of each expert's modules, on the demonstration's adapters.

python -m bench.excerpts [--prompts 60] [--parts 1 2 3 4 5 7 10 20]

As in `bench.priors`: which expert a test prompt is for, and whether neutral text is left to the base. Serving
processes hold at least `routing.excerpts.FEWEST` modules of each; here it is as few as `--parts` says.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import torch

from bench.priors import FRESH, judged, taught
from bench.report import save, show
from demo.tasks import BASE, TASKS
from routing import ComposedModel, load_base
from routing.calibration import calibrated_pack
from routing.excerpts import excerpt_of, with_excerpt
from routing.neutral import neutral_tokens
from routing.pack import pack_placed, updates_of

PRIORS = ("evidence", "auto")


def main() -> None:
    """Ask both priors about every prompt for each excerpt, print the table, write the figures."""
    given = _arguments().parse_args()
    torch.set_num_threads(given.threads)
    model, _report = taught(load_base(str(BASE)))
    asked = [(task.adapter, row.prompt) for task in TASKS for row in task.test_rows[: given.prompts]]
    fresh = neutral_tokens(model.routed.base, sequences=FRESH, seed=1).tolist()
    rows = []
    for parts in given.parts:
        held = excerpted_model(model, parts)
        places = range(len(held.experts))
        counts = sorted(len(updates_of(held.pack.judging, place)) for place in places)
        for prior in PRIORS:
            found = judged(held, prior, asked, fresh)
            rows.append({"parts": parts, "modules": [counts[0], counts[-1]], "prior": prior, **found})
    show(
        f"{len(TASKS)} adapters, {len(asked)} prompts: judged at some of each expert's modules",
        ["one in", "modules of each", "prior", "right first", "above nobody", "neutral left to the base"],
        [
            [
                str(row["parts"]),
                "{} to {}".format(*row["modules"]),
                row["prior"],
                *(f"{row[part]:.1%}" for part in ("right", "above", "left")),
            ]
            for row in rows
        ],
    )
    save("excerpts", {"rows": rows})


def excerpted_model(model: ComposedModel, parts: int) -> ComposedModel:
    """The model, whose prompts are judged by one in so many of each expert's modules."""
    pack = model.pack
    assert pack.text is not None
    assert pack.neutral is not None
    chosen = {
        place: excerpt_of(updates_of(pack, place), parts, fewest=1) for place in range(len(pack.experts))
    }
    held = with_excerpt(replace(pack, neutral=None, usual=None), pack_placed(chosen), parts, scattered=False)
    return replace(model, pack=calibrated_pack(model.routed, held, pack.text, neutral=pack.neutral))


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("bench.excerpts", description=__doc__)
    parser.add_argument("--prompts", type=int, default=60, help="test prompts of each task, at most")
    parser.add_argument("--parts", type=int, nargs="+", default=[1, 2, 3, 4, 5, 7, 10, 20])
    parser.add_argument("--threads", type=int, default=1)
    return parser


if __name__ == "__main__":
    main()
