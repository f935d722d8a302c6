"""`python -m evaluation SUITE checkpoint=FOLDER`: a suite by the base, by routers and by each expert."""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import lm_eval
from lm_eval.utils import simple_parse_args_string

from evaluation.catalogue import find_suite, leaves, load_tasks, shipped
from evaluation.chosen import choose
from evaluation.options import Options, load, parse
from evaluation.publishing import document as published
from evaluation.publishing import notice, require_may_be_shown
from evaluation.report import Report, document, rows, table, write
from evaluation.runs import FEWSHOT_SEED, Answers, Variant, run, variants
from evaluation.sending import Destination, manifest_digest
from evaluation.shown import ask_again, ways_shown
from fletch.exits import CommandError
from routing.composed import ComposedModel
from routing.errors import RoutingError


def arguments() -> argparse.ArgumentParser:
    """What may be said on the command line."""
    parser = argparse.ArgumentParser(prog="python -m evaluation", description=__doc__)
    parser.add_argument("suite", help=f"one of {', '.join(shipped())}, or the file of another")
    parser.add_argument("model_args", help="where the model is: checkpoint=FOLDER, or store=...")
    parser.add_argument("--routers", help="names joined by commas; left out: all that the library can use")
    parser.add_argument("--no-singles", action="store_true", help="leave out each expert alone")
    parser.add_argument("--limit", type=int, help="only so many questions of each task")
    parser.add_argument("--batch-size", default=16, type=int)
    parser.add_argument("--cache", type=Path, help="a folder that remembers answers, to go on after a stop")
    parser.add_argument("--out", type=Path, help="where the JSON goes; left out: build/evaluation/SUITE.json")
    parser.add_argument("--send-to", metavar="HUB", help="the address of a hub that keeps the table")
    parser.add_argument("--library", help="with --send-to: the library there")
    parser.add_argument("--version", type=int, help="with --send-to: its version, which is the one measured")
    parser.add_argument(
        "--questions",
        type=int,
        metavar="N",
        help="also keep up to N questions of each member: prompt, expected and given answers, who spoke; "
        "with --send-to the hub shows them to everybody (only of suites whose metadata says `may_be_shown`)",
    )
    parser.add_argument("--runs-code", action="store_true", help="run what it writes (HumanEval, MBPP)")
    return parser


def main() -> None:
    said = arguments().parse_args()
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    suite = find_suite(said.suite)
    options = parse(simple_parse_args_string(said.model_args))
    if said.questions is not None:
        require_may_be_shown(suite, said.questions)
    there = destination(said, options)
    if there is not None and said.questions is not None:
        print(notice(suite, said.questions, there.hub.address), flush=True)
    manifest = manifest_digest(options.where)
    model, tasks = load(options), load_tasks(suite)
    routers = said.routers.split(",") if said.routers else None
    ways = variants(model, routers, options.said, singles=not said.no_singles)
    how = {
        "cache": said.cache,
        "runs_code": said.runs_code,
        "batch_size": said.batch_size,
        **options.harness,
    }
    if said.cache is not None:
        said.cache.mkdir(parents=True, exist_ok=True)
    answers = measured(run(model, ways, tasks, limit=said.limit, **how))
    members = leaves(tasks, suite)
    found = rows({name: answered.outcomes for name, answered in answers.items()}, members)
    about = {
        "manifest": manifest,
        "harness": f"lm-eval {lm_eval.__version__}",
        "model_args": said.model_args,
        "limit": said.limit,
        "fewshot_seed": FEWSHOT_SEED,
    }
    report = Report(suite, found, ways, answers, members, about)
    out = said.out or Path("build/evaluation") / f"{suite.name}.json"
    write(out, report)
    if said.questions is not None:
        shown = look_again(model, report, tasks, said.questions, **how)
        report = replace(report, questions=shown)
        write(out, report)
    print(f"\n{table(found)}\n\nEach question's outcome: {out}")
    if there is not None:
        print(f"Sent: {there.send(document(report), options)}")


def measured(ran: Iterable[tuple[Variant, Answers]]) -> dict[str, Answers]:
    """All of a run by the names of its ways, said as they come."""
    began, answers = time.monotonic(), dict[str, Answers]()
    for way, answered in ran:
        answers[way.name] = answered
        print(f"{time.monotonic() - began:7.1f} s  {way.name}", flush=True)
    return answers


def look_again(
    model: ComposedModel, report: Report, tasks: Mapping[str, Any], most: int, **how: Any
) -> dict[str, Any]:
    """Up to so many questions of each member, asked again, as they are published."""
    together = [report.answers[way.name].outcomes for way in report.ways if way.kind != "expert"]
    chosen = choose(together, report.members, most)
    ways = {name: ways_shown(report.ways, report.answers, some) for name, some in report.members.items()}
    shown = published(ask_again(model, ways, chosen, tasks, **how), report.suite)
    counts = [len(some) for some in shown["members"].values()]
    print(f"{sum(counts)} questions looked at one by one, {max(counts, default=0)} of a member at most")
    return shown


def destination(said: argparse.Namespace, options: Options) -> Destination | None:
    """The version in a hub that keeps the table, if one is named; BadDestination if it is another one."""
    if said.send_to is None and said.library is None and said.version is None:
        return None
    found = Destination.named(said.send_to, said.library, said.version)
    found.check(options)
    return found


if __name__ == "__main__":
    try:
        main()
    except (RoutingError, CommandError) as error:
        raise SystemExit(f"{type(error).__name__}: {error}") from error
