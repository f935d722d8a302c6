"""How often each prior names the expert that a prompt is for, on the demonstration's adapters and test prompts.

python -m bench.priors [--prompts 60] [--lm-prompts 10]

Sample prompts are those that are shipped beside the adapters; no test prompt is among them. `cards` is
retrieval by descriptions alone, `half` with sample prompts of every other expert.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import torch

from bench.report import save, show
from demo.tasks import BASE, TASKS, Task
from routing import ComposedModel, compose, load_base, read_experts
from routing.base import Base
from routing.classifier import train_classifier
from routing.encoding import BaseEncoder
from routing.neutral import neutral_tokens
from routing.profiles import Profile
from routing.retrieval import profile_of

FRESH = 64  # neutral texts that no prior has seen, from another seed


def main() -> None:
    """Ask every prior about every prompt, print the table, write the figures."""
    given = _arguments().parse_args()
    torch.set_num_threads(given.threads)
    model, report = taught(load_base(str(BASE)))
    asked = [(task.adapter, row.prompt) for task in TASKS for row in task.test_rows[: given.prompts]]
    few = [(task.adapter, row.prompt) for task in TASKS for row in task.test_rows[: given.lm_prompts]]
    fresh = neutral_tokens(model.routed.base, sequences=FRESH, seed=1).tolist()
    rows = {
        "evidence": judged(model, "evidence", asked, fresh),
        "retrieval": judged(model, "retrieval", asked, fresh),
        "retrieval, half": judged(introduced(model, TASKS[::2]), "retrieval", asked, fresh),
        "retrieval, cards": judged(introduced(model, ()), "retrieval", asked, fresh),
        "classifier": judged(model, "classifier", asked, fresh),
        "lm": judged(model, "lm", few, fresh[: given.lm_prompts]),
    }
    show(
        f"{len(TASKS)} adapters: which expert is a prompt for?",
        ["prior", "prompts", "right first", "above nobody", "neutral left to the base", "ms a prompt"],
        [_line(name, row) for name, row in rows.items()],
    )
    save("priors", {"rows": rows, "classifier": report})


def taught(base: Base) -> tuple[ComposedModel, dict[str, Any]]:
    """The demonstration composed with profiles and a classifier, and the classifier's own report."""
    encoder, neutral = BaseEncoder(base), neutral_tokens(base)
    profiles = {task.adapter: profile(base, task, samples(task)) for task in TASKS}
    head, report = train_classifier(profiles, encoder.encode(neutral.tolist()), encoder=encoder.name)
    model = compose(base, read_experts(BASE.parent / "adapters", base), profiles=profiles, neutral=neutral)
    return replace(model, pack=replace(model.pack, classifier=head)), asdict(report)


def introduced(model: ComposedModel, tasks: Sequence[Task]) -> ComposedModel:
    """The model with sample prompts of these tasks alone; of the others it has cards."""
    base = model.routed.base
    profiles: Mapping[str, Profile] = {
        task.adapter: profile(base, task, samples(task) if task in tasks else []) for task in TASKS
    }
    return replace(model, pack=replace(model.pack, profiles=tuple(profiles[one] for one in model.experts)))


def profile(base: Base, task: Task, prompts: Sequence[str]) -> Profile:
    """A task's adapter as its contributor would introduce it."""
    return profile_of(
        base, BaseEncoder(base), adapter=task.adapter, description=task.description, prompts=prompts
    )


def samples(task: Task) -> list[str]:
    """The prompts of the sample rows that are shipped."""
    return [json.loads(line)["prompt"] for line in task.samples_path.read_text().splitlines()]


def judged(
    model: ComposedModel, prior: str, asked: Sequence[tuple[str, str]], neutral: Sequence[Sequence[int]]
) -> dict[str, float]:
    """What a prior says of prompts whose expert is known, and of neutral texts that it never saw."""
    model.prior(asked[0][1], prior)  # what is worked out once
    began = time.perf_counter()
    said = [(name, model.prior(prompt, prior)) for name, prompt in asked]
    seconds = time.perf_counter() - began
    right = sum(model.experts[int(one.experts.argmax())] == name for name, one in said)
    above = sum(float(one.experts.max()) > one.nobody() for _name, one in said)
    plain = [model.prior(text, prior) for text in neutral]
    left = sum(float(one.experts.max()) <= one.nobody() for one in plain)
    return {
        "prompts": len(said),
        "right": right / len(said),
        "above": above / len(said),
        "left": left / len(plain),
        "seconds": seconds / len(said),
    }


def _line(name: str, row: Mapping[str, float]) -> list[str]:
    shares = [f"{row[part]:.1%}" for part in ("right", "above", "left")]
    return [name, str(row["prompts"]), *shares, f"{1000 * row['seconds']:.1f}"]


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("bench.priors", description=__doc__)
    parser.add_argument("--prompts", type=int, default=60, help="test prompts of each task, at most")
    parser.add_argument("--lm-prompts", type=int, default=10, help="of each task, for the prior `lm`")
    parser.add_argument("--threads", type=int, default=1)
    return parser


if __name__ == "__main__":
    main()
