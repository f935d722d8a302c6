"""Requests as lm_eval makes them, and a task of our own that needs no data set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from datasets import Dataset
from lm_eval import evaluate
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM, CachingLM
from lm_eval.tasks import TaskManager

PAIRS = (
    ("The ferry leaves at", " nine and crosses the bay"),
    ("The ferry leaves at", " ten"),
    ("Bread, cheese and two apples were ", "on the table."),  # a space where context and continuation meet
    ("", "She counted 12 boats"),
    ("When it rains, the path by the mill is closed. " * 12, " nobody asked why"),  # longer than the context
    ("345 gulls", " and 6789 waves;"),
)
TEXTS = (
    "The ferry leaves at nine.",
    "She counted 12 boats, 345 gulls and 6789 waves; nobody asked why. " * 6,
)
CONTEXTS = ("The ferry leaves", "Bread, cheese and two apples were on the table and", "345")
GREEDY = {"until": ["\n"], "max_gen_toks": 6}


def likelihood_requests(pairs: Sequence[tuple[str, str]] = PAIRS) -> list[Instance]:
    """One request per pair of context and continuation."""
    return [Instance("loglikelihood", {}, pair, place) for place, pair in enumerate(pairs)]


def rolling_requests(texts: Sequence[str] = TEXTS) -> list[Instance]:
    """One request per whole text."""
    return [Instance("loglikelihood_rolling", {}, (text,), place) for place, text in enumerate(texts)]


def generation_requests(contexts: Sequence[str] = CONTEXTS) -> list[Instance]:
    """One request per context, continued greedily."""
    return [
        Instance("generate_until", {}, (text, dict(GREEDY)), place) for place, text in enumerate(contexts)
    ]


def local_task() -> dict[str, Any]:
    """A task of multiple choice in the harness's own words."""
    rows = [
        {"question": "The ferry leaves at", "choices": ["nine", "ten", "six"], "answer": 0},
        {"question": "She counted 12", "choices": ["boats", "gulls and waves"], "answer": 1},
        {"question": "The path by the mill is", "choices": ["closed", "open"], "answer": 0},
    ]
    return {
        "task": "ferry",
        "custom_dataset": lambda **_: {"test": Dataset.from_list(rows)},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "{{question}}",
        "doc_to_choice": "{{choices}}",
        "doc_to_target": "{{answer}}",
        "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
    }


def evaluated(model: LM | CachingLM) -> dict[str, Any]:
    """The harness's results on that task. Its own thousands of tasks are not looked through."""
    tasks = TaskManager(include_defaults=False).load([local_task()])
    return dict(evaluate(lm=model, task_dict=tasks, bootstrap_iters=0))
