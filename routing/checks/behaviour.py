"""What an adapter does when it runs: it keeps the language, and beats the base at what its author shows."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from routing.adapter import Adapter
from routing.base import Base
from routing.chat import BadConversation
from routing.checks.samples import FILE, Sample
from routing.completion_loss import completion_tokens, mean_loss
from routing.finding import Finding
from routing.rows import Row, encoded_row
from routing.scales import added_by, exact_form
from routing.tensor_names import TENSOR_FILE
from routing.weights import layers_of

# How much the loss on neutral text may rise above the base's, in nats per token. A narrow expert costs some
# tenths. At one more it is 2.7 times as surprised by plain English; at four more, 55 times: it has lost the
# language, most often because it was trained on another base or diverged.
UNUSUAL_RISE = 1.0
IMPLAUSIBLE_RISE = 4.0
NEUTRAL_FILE = Path(__file__).parent.parent / "neutral.txt"
NEUTRAL_TOKENS = 2048
WINDOW = 256
# Enough rows to tell better from worse, few enough for a large base on a CPU; always the first ones.
COMPARED_SAMPLES = 64


def run_behaviour_checks(
    adapter: Adapter, base: Base, neutral_text: str, samples: Sequence[Sample] = ()
) -> tuple[list[Finding], dict[str, Any]]:
    """Findings about the running adapter, and the losses of base and adapted model in nats per token.

    The base's parameters are only read: the adapter's products are added to its layers' outputs meanwhile.
    """
    texts: dict[str, Sequence[Row]] = {"neutral": _neutral_rows(base, neutral_text)}
    findings = list(_unfit_samples(base, samples[:COMPARED_SAMPLES]))
    if samples and not findings:
        texts["samples"] = [encoded_row(base, sample) for sample in samples[:COMPARED_SAMPLES]]
    plain = {name: _loss(base, rows) for name, rows in texts.items()}
    with adapted(base, adapter):
        changed = {name: _loss(base, rows) for name, rows in texts.items()}
    findings += _neutral_findings(plain["neutral"], changed["neutral"])
    if "samples" in texts:
        findings += _sample_findings(plain["samples"], changed["samples"])
    measured = {
        name: {
            "base": _number(plain[name]),
            "adapted": _number(changed[name]),
            "tokens": completion_tokens(rows),
        }
        for name, rows in texts.items()
    }
    return findings, measured


def default_neutral_text() -> str:
    """Some pages of plain English of many kinds, which no expert should have unlearnt."""
    return NEUTRAL_FILE.read_text(encoding="utf-8")


@contextlib.contextmanager
def adapted(base: Base, adapter: Adapter) -> Iterator[None]:
    """Let the base answer with the adapter's exact update until the block ends; no parameter is touched."""
    with contextlib.ExitStack() as hooks:
        layers = layers_of(base)
        for name, update in adapter.modules.items():
            low_rank, scales = exact_form(update, layers(name))
            added = added_by(low_rank.a, low_rank.scaling * low_rank.b, scales, layers(name).weight)
            layer = base.model.get_submodule(name)
            hooks.callback(layer.register_forward_hook(_addition(added)).remove)
        yield


def _addition(added: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Any, Any, Tensor], Tensor]:
    def add(_layer: Any, inputs: tuple[Tensor], output: Tensor) -> Tensor:
        return output + added(inputs[0], output)

    return add


def _neutral_rows(base: Base, text: str) -> list[Row]:
    """The text's first tokens in windows, each split into what is given and what is predicted."""
    tokens = base.tokenizer(text, add_special_tokens=False, verbose=False).input_ids[:NEUTRAL_TOKENS]
    width = min(WINDOW, base.spec.context)
    windows = [tokens[start : start + width] for start in range(0, len(tokens), width)]
    return [base.family.halves(window) for window in windows if len(window) > 1]


def _unfit_samples(base: Base, samples: Sequence[Sample]) -> Iterator[Finding]:
    for number, sample in enumerate(samples, 1):
        try:
            length = base.family.length(*encoded_row(base, sample))
        except BadConversation as error:
            fix = "Write the turns as the base's chat template wants them, or as prompt and completion."
            found, expected = str(error), "a conversation that the base can read"
            yield Finding("samples", "error", FILE, f"row {number}", found, expected, fix)
            continue
        if length > base.spec.context:
            expected = f"at most {base.spec.context}, the base's context"
            yield Finding(
                "samples", "error", FILE, f"row {number}", f"{length} tokens", expected, "Shorten it."
            )


@torch.inference_mode()
def _loss(base: Base, rows: Sequence[Row]) -> float:
    """The mean negative log-likelihood of the predicted tokens, in nats, computed in float32."""
    return mean_loss(base, rows, at_once=1) if rows else 0.0


def _number(loss: float) -> float | None:
    """JSON has no NaN."""
    return loss if math.isfinite(loss) else None


def _neutral_findings(plain: float, changed: float) -> Iterator[Finding]:
    found = f"a loss of {changed:.2f} where the base has {plain:.2f} nats per token"
    if not changed - plain <= IMPLAUSIBLE_RISE:  # also when it is not a number
        expected = f"at most {IMPLAUSIBLE_RISE:g} more than the base"
        fix = "The adapter has lost the language: was it trained on this base, and did the training converge?"
        yield Finding("neutral-text", "error", TENSOR_FILE, "", found, expected, fix)
    elif changed - plain > UNUSUAL_RISE:
        expected = f"usually at most {UNUSUAL_RISE:g} more than the base"
        fix = "It forgets much of the language; fewer steps or a lower learning rate may do."
        yield Finding("neutral-text", "warning", TENSOR_FILE, "", found, expected, fix)


def _sample_findings(plain: float, changed: float) -> Iterator[Finding]:
    """An expert that is no better than the base on the rows that its own author chose has nothing to add."""
    if not changed < plain:
        found = f"a loss of {changed:.3f} on the completions where the base has {plain:.3f} nats per token"
        fix = "Check that the rows are written as in training (template, spaces) and for this base."
        yield Finding("samples", "error", TENSOR_FILE, "", found, "a lower loss than the base's", fix)
