"""Questions one by one, asked again: the prompt, what each way to answer said, how it did, and who spoke."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lm_eval import evaluate

from evaluation.chosen import Choice
from evaluation.model import ComposedLM
from evaluation.runs import Answers, Variant, cached, draw_anew
from evaluation.speakers import Speakers, speakers

LONGEST_PROMPT = 8_000  # characters
LONGEST_ANSWER = 1_000
MOST_SINGLES = 3
RIGHT_OR_WRONG = ("acc", "exact_match", "em", "pass")  # how metrics begin that are 1 or 0 of each question
NOBODY = Speakers({}, (), {})
ByQuestion = dict[tuple[str, str], dict[str, Any]]


@dataclass
class Question:
    """A question as it was asked, and by way to answer what came of it."""

    choice: Choice
    prompt: str
    expected: str
    metric: str
    answers: dict[str, Said] = field(default_factory=dict)


@dataclass(frozen=True)
class Said:
    """One answer. `text` is empty where there is none to show, `taken` is what of it was compared, if that is
    another text, and `right` is None where the metric knows more than right and wrong.
    """

    score: float
    right: bool | None
    text: str
    taken: str
    speakers: Speakers


def ways_shown(
    ways: Sequence[Variant], answers: Mapping[str, Answers], tasks: Sequence[str]
) -> list[Variant]:
    """The base, the policy, the routers, and of the single experts the best at these tasks."""
    singles = [way for way in ways if way.kind == "expert"]
    singles.sort(key=lambda way: (-_sum(answers[way.name], tasks), way.name))
    return [way for way in ways if way.kind != "expert"] + singles[:MOST_SINGLES]


def ask_again(
    model: Any,
    ways: Mapping[str, Sequence[Variant]],
    chosen: Mapping[str, Sequence[Choice]],
    tasks: Mapping[str, Any],
    *,
    cache: Path | None = None,
    runs_code: bool = False,
    **options: Any,
) -> dict[str, list[Question]]:
    """The chosen questions of each member, answered by each of its `ways`; texts without a question are left
    out. An answer and its score are of this pass: batches differ from the first one's, by rounding, and a
    task that draws examples at random draws them for these questions alone.
    """
    found: dict[tuple[str, str], Question] = {}
    for way in {way.name: way for some in ways.values() for way in some}.values():
        wanted = [one for member, some in chosen.items() if way in ways[member] for one in some]
        lm = ComposedLM(model, way.routing, **options)
        samples = _samples(cached(lm, model, way, cache), wanted, tasks["tasks"], runs_code=runs_code)
        for one in wanted:
            sample = samples.get((one.task, one.question))
            if sample is not None:
                question = found.setdefault((one.task, one.question), _question(one, sample))
                question.answers[way.name] = _said(lm, sample)
    return {
        member: [found[one.task, one.question] for one in some if (one.task, one.question) in found]
        for member, some in chosen.items()
    }


def _samples(lm: Any, wanted: Sequence[Choice], tasks: Mapping[str, Any], *, runs_code: bool) -> ByQuestion:
    """What lm_eval logs of these by its first filter; likelihoods of whole texts are no questions."""
    asked: dict[str, list[int]] = {}
    for one in wanted:
        if tasks[one.task].OUTPUT_TYPE != "loglikelihood_rolling":
            asked.setdefault(one.task, []).append(int(one.question))
    if not asked:
        return {}
    some = {task: tasks[task] for task in asked}
    draw_anew(some)
    results = evaluate(
        lm=lm,
        task_dict={"tasks": some, "groups": {}, "group_map": {}},
        samples={task: sorted(places) for task, places in asked.items()},
        bootstrap_iters=0,
        confirm_run_unsafe_code=runs_code,
    )
    found: ByQuestion = {}
    for task, samples in results["samples"].items():
        for sample in samples:
            if sample["filter"] == samples[0]["filter"]:
                output = tasks[task].OUTPUT_TYPE
                found[task, str(sample["doc_id"])] = {**sample, "output": output}
    return found


def _question(choice: Choice, sample: Mapping[str, Any]) -> Question:
    prompt, options = _parts(sample)
    target = sample["target"]
    if sample["output"] == "multiple_choice" and isinstance(target, int) and 0 <= target < len(options):
        target = options[target].strip()
    elif isinstance(target, list):
        target = " / ".join(str(one) for one in target)
    return Question(choice, prompt, str(target), sample["metrics"][0])


def _said(lm: ComposedLM, sample: Mapping[str, Any]) -> Said:
    """What a way answered, read from what lm_eval logged; who spoke is heard in a pass over both texts."""
    metric, context, text, taken = sample["metrics"][0], sample["arguments"][0][0], "", ""
    if sample["output"] == "generate_until":
        text, taken = str(sample["resps"][0][0]), str(sample["filtered_resps"][0])
    elif sample["output"] == "loglikelihood":
        text = lm.written(context, sample["arguments"][0][1])
    else:
        context, text = sample["arguments"][_likeliest(sample)][:2]
    record = lm.heard(context, text)
    score = float(sample[metric])
    graded = not metric.startswith(RIGHT_OR_WRONG) or score not in {0.0, 1.0}
    return Said(
        score,
        None if graded else score == 1.0,
        _option(sample, text, context),
        "" if taken == text else taken,
        NOBODY if record is None else speakers(record),
    )


def _likeliest(sample: Mapping[str, Any]) -> int:
    """The place of the choice that was taken; by characters where the metric is normalised."""
    count = len(_parts(sample)[1])
    scores = [float(answers[0][0]) for answers in sample["resps"][:count]]
    if sample["metrics"][0] == "acc_norm":
        lengths = [max(1, len(arguments[1])) for arguments in sample["arguments"][:count]]
        scores = [score / length for score, length in zip(scores, lengths, strict=True)]
    return scores.index(max(scores))


def _parts(sample: Mapping[str, Any]) -> tuple[str, list[str]]:
    """What all choices of a question have in common, and what each adds to it.

    Some tasks have one context with many endings, some (WinoGrande) the same ending after many contexts.
    Behind the choices a task may ask for their likelihoods without a context, which are none.
    """
    pairs = [arguments for arguments in sample["arguments"] if len(arguments) > 1]
    if sample["output"] != "multiple_choice":
        return str(pairs[0][0]), []
    named = pairs[: len(pairs) // 2] if "acc_mutual_info" in sample["metrics"] else pairs
    common = _beginning([str(pair[0]) for pair in named])
    return common, [pair[0][len(common) :] + pair[1] for pair in named]


def _beginning(texts: Sequence[str]) -> str:
    """What all of them begin with."""
    least, most = min(texts), max(texts)
    same = (place for place, (one, other) in enumerate(zip(least, most, strict=False)) if one != other)
    return least[: next(same, min(len(least), len(most)))]


def _option(sample: Mapping[str, Any], text: str, context: str) -> str:
    if sample["output"] != "multiple_choice":
        return text
    return (context[len(_parts(sample)[0]) :] + text).strip()


def _sum(answers: Answers, tasks: Sequence[str]) -> float:
    """How it did at these tasks, each of which counts alike."""
    return sum(sum(answers.outcomes[task].values()) / max(1, len(answers.outcomes[task])) for task in tasks)
