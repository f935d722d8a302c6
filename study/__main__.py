"""`python -m study --suite path/suite.toml`: run a study, print its tables, save figures and pictures."""

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from rich.console import Console

from routing.errors import RoutingError
from study.methods import METHODS
from study.report import save, show, write_page
from study.run import growing
from study.suite import SPLITS, BadSuite, Suite, read_suite
from study.table import lines

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
CACHE = HERE.parent / "build" / "study"
PAGE = HERE.parent / "docs" / "study.md"


def main() -> None:
    """Run the suites that are named, one after another."""
    options = _options()
    console, began = Console(highlight=False, width=max(140, Console().width)), time.monotonic()

    def say(text: str) -> None:
        console.print(f"[dim]{time.monotonic() - began:6.0f} s  {text}[/dim]")

    try:
        for path in options.suite:
            _study(_as_asked(read_suite(path), options), options, console, say)
    except (BadSuite, RoutingError) as error:
        console.print(f"[red]{error}[/red]")
        sys.exit(1)
    if options.page:
        write_page(options.results, options.page)
        console.print(f"written to {options.page}")


def _study(suite: Suite, options: argparse.Namespace, console: Console, say: Callable[[str], None]) -> None:
    """Save after each seed, so that a study cut short leaves what it has; show the whole at the end."""
    methods = [method for method in METHODS if not method.name.startswith(tuple(options.without))]
    told = partial(_say_of, suite.name, say)
    for so_far, found in growing(suite, cache=options.cache, say=told, methods=methods):
        console.print(f"written to {save(so_far, found, folder=options.results)}")
    for split in SPLITS:
        if table := lines(found.answers, suite.tasks, split):
            show(console, suite, split, table)


def _say_of(name: str, say: Callable[[str], None], text: str) -> None:
    say(f"{name}, {text}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m study", description=__doc__)
    parser.add_argument(
        "--suite", type=Path, action="append", required=True, help="a suite.toml; may be repeated"
    )
    parser.add_argument("--seeds", type=int, nargs="+", help="these seeds instead of the suite's")
    parser.add_argument("--questions", type=int, help="at most so many of each task and seed")
    parser.add_argument("--splits", choices=SPLITS, nargs="+", help="only the tasks of these splits")
    parser.add_argument("--without", nargs="+", default=[], help="leave out methods whose names begin so")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the folder for figures and pictures")
    parser.add_argument("--cache", type=Path, default=CACHE, help="where trained adapters and gates are kept")
    parser.add_argument("--page", type=Path, help=f"write the page too, for example {PAGE.name}")
    return parser.parse_args()


def _as_asked(suite: Suite, options: argparse.Namespace) -> Suite:
    return replace(
        suite,
        tasks=tuple(task for task in suite.tasks if task.split in (options.splits or SPLITS)),
        seeds=tuple(options.seeds or suite.seeds),
        questions=options.questions or suite.questions,
    )


if __name__ == "__main__":
    main()
