"""How likely descriptions become behind a prompt: the same as if each were read with it, for a part of the work."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from routing import choosing, queries
from routing.base import load_base
from routing.choosing import AT_ONCE, BETWEEN, Continuations, begin
from routing.encoding import padded
from routing.priors import Known
from routing.queries import QueryRouter
from routing.routed import RoutedModel
from routing.spec import BaseRef
from routing.turns import Asker, Left
from routing.work import PREFILL_CHUNK
from tests.tiny import tiny_gpt2, tiny_llama

PROMPT = "The ferry leaves at nine; nobody counted 345 gulls."
TEXTS = ["a", "ab", "boats in the bay", "x" * 40, "gulls", "y" * (AT_ONCE + 30), "bread, cheese", "z"]


@pytest.fixture(params=["llama", "gpt2", "read alone"])
def model(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> RoutedModel:
    folder: Path = tiny_gpt2() if request.param == "gpt2" else tiny_llama()
    found = RoutedModel(load_base(BaseRef(str(folder))))
    if request.param == "read alone":
        monkeypatch.setattr(RoutedModel, "reads_together", False)
    assert found.reads_together == (request.param != "read alone")
    return found


@pytest.fixture
def llama() -> RoutedModel:
    found = RoutedModel(load_base(BaseRef(str(tiny_llama()))))
    assert found.reads_together
    return found


def tokens(model: RoutedModel, text: str) -> list[int]:
    found: list[int] = model.base.tokenizer(text, add_special_tokens=False)["input_ids"]
    return found


def all_read_with_it(model: RoutedModel, before: list[int], texts: Sequence[list[int]]) -> Tensor:
    """What was summed before anything was kept: each text behind the whole beginning, all side by side."""
    ids, mask = padded([[*before, *text] for text in texts], model.base.device)
    with torch.no_grad():
        logits = model.base.model(input_ids=ids, attention_mask=mask, use_cache=False).logits
    first = len(before)
    each = logits[:, first - 1 : -1].float().log_softmax(-1).gather(2, ids[:, first:].unsqueeze(-1))
    return (each.squeeze(-1) * mask[:, first:]).sum(1)


@contextmanager
def passes(model: RoutedModel) -> Iterator[list[tuple[int, int]]]:
    """How many tokens went through the base in each pass, and for how many it made logits."""
    seen: list[tuple[int, int]] = []

    def look(_module: object, _args: object, given: dict[str, Any], made: Any) -> None:
        seen.append((given["input_ids"].numel(), made.logits[..., 0].numel()))

    hook = model.base.model.register_forward_hook(look, with_kwargs=True)
    try:
        yield seen
    finally:
        hook.remove()


def test_a_text_is_as_likely_as_if_the_prompt_were_read_with_it(model: RoutedModel) -> None:
    before, texts = tokens(model, PROMPT), [tokens(model, text) for text in TEXTS]

    with torch.inference_mode():
        begun = begin(model, before, most=len(before) + max(map(len, texts)))
        together = torch.cat([begun.likelihoods(batch) for batch in choosing._batches(texts)])
        once_more = torch.cat([begun.likelihoods([text]) for text in texts])

    expected = all_read_with_it(model, before, texts)
    torch.testing.assert_close(together, expected, atol=2e-4, rtol=1e-4)
    torch.testing.assert_close(once_more, expected, atol=2e-4, rtol=1e-4)


def test_gains_are_what_they_were(model: RoutedModel) -> None:
    between, texts = tokens(model, BETWEEN), [tokens(model, text) for text in TEXTS]
    start = model.base.tokenizer.bos_token_id
    nothing = [*([] if start is None else [start]), *between]
    lengths = torch.tensor([float(len(text)) for text in texts])

    found = Continuations(model, TEXTS).gains(tokens(model, PROMPT))

    added = all_read_with_it(model, [*tokens(model, PROMPT), *between], texts)
    added -= all_read_with_it(model, nothing, texts)
    torch.testing.assert_close(found, added * lengths.mean() / lengths, atol=2e-3, rtol=1e-3)


def test_a_prompt_is_read_once_however_many_texts_there_are(model: RoutedModel) -> None:
    many = [f"{place} boats" for place in range(60)]
    read = Continuations(model, many)
    prompt = tokens(model, PROMPT * 2)
    between = len(tokens(model, BETWEEN))
    with passes(model) as first:
        read.gains(prompt)
    known = read.unread

    with passes(model) as second:
        read.gains(prompt)

    assert known == read.tokens
    assert sum(count for count, _ in second) <= len(prompt) + between + read.tokens
    assert sum(count for count, _ in first) <= len(prompt) + 1 + 2 * between + 2 * read.tokens
    assert max(logits for _, logits in first + second) <= AT_ONCE


def test_a_long_prompt_is_read_in_pieces_and_without_its_logits(llama: RoutedModel) -> None:
    long = (tokens(llama, PROMPT) * 99)[: PREFILL_CHUNK + 9]

    with passes(llama) as seen, torch.inference_mode():
        begin(llama, long, most=len(long))

    assert seen == [(PREFILL_CHUNK, 1), (9, 1)]


def test_nothing_more_is_read_for_who_has_left_and_what_was_is_kept(model: RoutedModel) -> None:
    read, asker = Continuations(model, [f"{place} boats in the bay" for place in range(60)]), Asker("ada")
    prompt = tokens(model, PROMPT)
    read.gains(prompt)
    whole = read.unread
    read._alone.clear()
    seen: list[int] = []

    def leave(*_: object) -> None:
        seen.append(1)
        if len(read._alone) == 1:
            asker.leave()

    hook = model.base.model.register_forward_hook(leave)
    with pytest.raises(Left):
        read.gains(prompt, asker)
    hook.remove()

    begun = len(seen)
    assert 0 < len(read._alone) < len(read._batches)
    assert whole < read.unread < 2 * whole
    with pytest.raises(Left):
        read.gains(prompt, asker)
    assert len(seen) == begun


@pytest.mark.parametrize("prior", ["lm", "evidence"])
def test_a_turn_costs_what_is_read_in_it(
    llama: RoutedModel, monkeypatch: pytest.MonkeyPatch, prior: str
) -> None:
    costs: list[float] = []
    turns: Any = SimpleNamespace(take=lambda _asker, cost: costs.append(cost), give_back=lambda _asker: None)
    pack: Any = SimpleNamespace(experts=("ada/boats", "bob/bread"), profiles=())
    known = Known(llama, pack)
    monkeypatch.setattr(queries, "PRIORS", {prior: lambda *_: SimpleNamespace()})
    router = QueryRouter(llama, pack, known=known)

    router.scores(prior, (1, 2, 3), Asker("ada", turns))

    texts = [*known.descriptions, choosing.NOBODY]
    described = sum(len(tokens(llama, text)) for text in texts)
    assert costs == [3 + (2 * described if prior == "lm" else 0)]
