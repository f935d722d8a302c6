"""FLAN's test rows, and how far what was written is what was expected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

from datasets import Dataset
from rouge_score.rouge_scorer import RougeScorer


def test_rows(rows: Dataset) -> Dataset:
    """The rows that no adapter was trained on."""
    return rows.filter(lambda row: row["split"] == "test")


def rouge(row: Mapping[str, str], written: Sequence[str]) -> dict[str, float]:
    """ROUGE-L, F measure, of the first answer, with stems."""
    return {"rougeL": float(_scorer().score(row["target"], written[0])["rougeL"].fmeasure)}


@cache
def _scorer() -> RougeScorer:
    return RougeScorer(["rougeL"], use_stemmer=True)
