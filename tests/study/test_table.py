"""Best single and oracle are chosen as the page says, and every line knows its rivals."""

from pathlib import Path

from study.answers import Outcome
from study.suite import Task
from study.table import BEST_SINGLE, ORACLE, lines, with_chosen

OWN = Task("own", Path("own"), "held-in", "a")
OTHER = Task("other", Path("other"), "held-out")


def outcomes(*exact: float, loss: float = 1.0) -> list[list[Outcome]]:
    return [[Outcome(one, loss) for one in exact]]


BASE = {"own": outcomes(0, 0), "other": outcomes(1, 1)}
A = {"own": outcomes(1, 0), "other": outcomes(0, 0)}
B = {"own": outcomes(1, 1), "other": outcomes(1, 1, loss=2.0)}
MIX = {"own": outcomes(1, 0), "other": outcomes(1, 0)}


def test_the_oracle_is_the_own_expert_or_the_best_of_all_and_the_base() -> None:
    answers = with_chosen({"base": BASE, "mix": MIX}, {"a": A, "b": B}, [OWN, OTHER])

    assert answers[ORACLE]["own"] == A["own"]
    assert answers[ORACLE]["other"] == BASE["other"]
    assert answers[BEST_SINGLE]["own"] == B["own"]
    assert answers[BEST_SINGLE]["other"] == B["other"]


def test_lines_are_scored_between_base_and_oracle() -> None:
    answers = with_chosen({"base": BASE, "mix": MIX}, {"a": A, "b": B}, [OWN, OTHER])

    found = {line.method: line for line in lines(answers, [OWN, OTHER], "held-in", resamples=50)}

    assert found["base"].score == 0.0
    assert found[ORACLE].score == found["mix"].score == 1.0
    assert found["mix"].over["base"][0] == 0.5
    assert found["mix"].by_task == {"own": 0.5}
    assert lines(answers, [OWN, OTHER], "development") == []
