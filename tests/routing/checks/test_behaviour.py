"""The running adapter is PEFT's, leaves the base alone, keeps the language, and beats the base at its own samples."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from routing.adapter import Adapter, LowRank, read_adapter
from routing.base import Base, load_base
from routing.checks.behaviour import adapted, default_neutral_text, run_behaviour_checks
from routing.checks.samples import Sample, Turn, parse_samples
from routing.digests import digest_of
from routing.spec import BaseRef
from tests.tiny import tiny_adapter, tiny_gpt2, tiny_llama

LARGE = (b'{"prompt": "' + b"x" * 4500 + b'", "completion": "c"}\n') * 1000
TEXT = "The ferry leaves at nine. She counted 12 boats; nobody asked why. " * 20


@functools.cache
def base_of(folder: Callable[[], Path]) -> Base:
    return load_base(BaseRef(str(folder())))


def parameters_digest(base: Base) -> str:
    return digest_of(b"".join(p.numpy().tobytes() for p in base.model.state_dict().values()))


def scaled(adapter: Adapter, by: float) -> Adapter:
    return Adapter({name: LowRank(u.a, u.b, u.scaling * by) for name, u in adapter.low_rank.items()})


@pytest.mark.parametrize("folder", [tiny_llama, tiny_gpt2])
def test_the_adapted_base_answers_as_peft_does_and_then_as_before(
    tmp_path: Path, folder: Callable[[], Path]
) -> None:
    base = base_of(folder)
    directory = tiny_adapter(tmp_path, folder(), rank=3, alpha=5, rslora=True)
    tokens = torch.arange(30)[None]
    before, digest = base.model(tokens).logits, parameters_digest(base)

    with adapted(base, read_adapter(directory, base.spec)):
        ours = base.model(tokens).logits

    theirs = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(folder()), str(directory)).eval()
    torch.testing.assert_close(ours, theirs(tokens).logits, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(ours, before)
    assert torch.equal(base.model(tokens).logits, before)
    assert parameters_digest(base) == digest


def test_an_adapter_that_breaks_in_the_middle_leaves_the_base_as_it_was(tmp_path: Path) -> None:
    base = base_of(tiny_llama)
    adapter = read_adapter(tiny_adapter(tmp_path), base.spec)
    before = base.model(torch.arange(9)[None]).logits
    broken = Adapter({**adapter.modules, "no.such.layer": next(iter(adapter.modules.values()))})

    with pytest.raises(AttributeError), adapted(base, broken):
        pass

    assert torch.equal(base.model(torch.arange(9)[None]).logits, before)


def test_losses_are_those_of_transformers(tmp_path: Path) -> None:
    base = base_of(tiny_llama)
    directory = tiny_adapter(tmp_path, scale=0.05)
    tokens = torch.tensor([base.tokenizer(TEXT[:300]).input_ids])

    _, measured = run_behaviour_checks(read_adapter(directory, base.spec), base, TEXT[:300])

    theirs = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(tiny_llama()), str(directory)
    ).eval()
    assert tokens.shape[1] < 256
    assert measured["neutral"]["base"] == pytest.approx(
        base.model(tokens, labels=tokens).loss.item(), abs=1e-4
    )
    assert measured["neutral"]["adapted"] == pytest.approx(
        theirs(tokens, labels=tokens).loss.item(), abs=1e-4
    )
    assert measured["neutral"]["tokens"] == tokens.shape[1] - 1


def test_an_adapter_that_keeps_the_language_passes(tmp_path: Path) -> None:
    base = base_of(tiny_llama)
    gentle = read_adapter(tiny_adapter(tmp_path, scale=0.02), base.spec)

    findings, measured = run_behaviour_checks(gentle, base, TEXT)

    assert findings == []
    assert set(measured) == {"neutral"}


@pytest.fixture(scope="module")
def fluent_base() -> Base:
    """A base that has learnt `TEXT`: only who knows a language can lose it."""
    base = load_base(BaseRef(str(tiny_llama())))
    parameters = list(base.model.requires_grad_(requires_grad=True).parameters())
    optimiser = torch.optim.Adam(parameters, lr=1e-2)
    tokens = torch.tensor([base.tokenizer(TEXT).input_ids[:256]])
    for _ in range(60):
        optimiser.zero_grad()
        base.model(tokens, labels=tokens).loss.backward()
        optimiser.step()
    base.model.requires_grad_(requires_grad=False)
    return base


def test_an_adapter_that_loses_the_language_is_refused(tmp_path: Path, fluent_base: Base) -> None:
    adapter = read_adapter(tiny_adapter(tmp_path), fluent_base.spec)
    seen = set()
    for by in (0.001, 0.05, 0.1, 0.2, 0.3, 0.5, 1, 10):
        findings, measured = run_behaviour_checks(scaled(adapter, by), fluent_base, TEXT)
        rise = measured["neutral"]["adapted"] - measured["neutral"]["base"]
        expected = "error" if rise > 4 else "warning" if rise > 1 else None
        assert [finding.severity for finding in findings] == ([expected] if expected else [])
        seen.add(expected)

    assert seen == {None, "warning", "error"}


def test_an_answer_that_is_no_number_is_refused(tmp_path: Path) -> None:
    base = base_of(tiny_llama)
    adapter = read_adapter(tiny_adapter(tmp_path), base.spec)

    findings, measured = run_behaviour_checks(scaled(adapter, float("nan")), base, TEXT)

    assert [finding.severity for finding in findings] == ["error"]
    assert measured["neutral"]["adapted"] is None


def adapter_that_prefers(base: Base, completion: str) -> Adapter:
    """A rank-one change of the last layer's output that pushes every position towards one token."""
    token = base.tokenizer(completion, add_special_tokens=False).input_ids[0]
    direction = base.model.get_output_embeddings().weight[token]
    name = base.spec.target_modules[-1].name
    inputs: list[torch.Tensor] = []
    layer = base.model.get_submodule(name)
    hook = layer.register_forward_hook(lambda _layer, args, _output: inputs.append(args[0]))
    base.model(torch.tensor([base.tokenizer("Say it: ").input_ids]))
    hook.remove()
    there = torch.nn.functional.normalize(inputs[0][0, -1], dim=0)
    return Adapter({name: LowRank(there[None], direction[:, None], 30.0)})


def test_an_adapter_must_beat_the_base_on_its_own_samples(tmp_path: Path) -> None:
    base = base_of(tiny_llama)
    expert = adapter_that_prefers(base, "!")
    samples, findings = parse_samples(b'{"prompt": "Say it: ", "completion": "!"}\n\n')
    assert (samples, findings) == ([Sample("Say it: ", "!")], [])

    good, measured = run_behaviour_checks(expert, base, TEXT, samples)
    bad, _ = run_behaviour_checks(scaled(expert, -1), base, TEXT, samples)

    assert [finding for finding in good if finding.check == "samples"] == []
    assert measured["samples"]["adapted"] < measured["samples"]["base"]
    assert measured["samples"]["tokens"] == 1
    assert [f.severity for f in bad if f.check == "samples"] == ["error"]


def test_a_sample_longer_than_the_context_is_named(tmp_path: Path) -> None:
    base = base_of(tiny_llama)
    adapter = read_adapter(tiny_adapter(tmp_path, scale=0.02), base.spec)

    findings, measured = run_behaviour_checks(adapter, base, TEXT, [Sample("a", "b"), Sample("z" * 400, "b")])

    assert [(f.check, f.field) for f in findings] == [("samples", "row 2")]
    assert "samples" not in measured


@pytest.mark.parametrize(
    ("row", "found"),
    [
        (b"not json", "Expecting"),
        (b'{"prompt": "x"}', "prompt"),
        (b'{"prompt": "x", "completion": 7}', "completion"),
        (b'["x", "y"]', "list"),
        (b'{"prompt": "x", "completion": "  "}', "empty"),
        (b'{"prompt": "' + b"x" * 21_000 + b'", "completion": "y"}', "long"),
        (b'{"prompt": "\xff", "completion": "y"}', "UTF-8"),
        (b'{"prompt": "x", "prompt": "z", "completion": "y"}', "twice"),
        (b'{"messages": []}', "0 messages"),
        (b'{"messages": "hello"}', "other messages"),
        (b'{"messages": [{"role": "tool", "content": "x"}]}', "other messages"),
        (b'{"messages": [{"role": "user", "content": "x"}]}', "1 messages"),
        (b'{"messages": [], "prompt": "x"}', "the fields"),
    ],
)
def test_a_bad_row_is_named_by_its_line_and_the_others_are_kept(row: bytes, found: str) -> None:
    good = b'{"prompt": "p", "completion": "c", "note": "ignored"}'

    samples, findings = parse_samples(b"\n".join([good, row, good]))

    assert samples == [Sample("p", "c")] * 2
    assert [finding.field for finding in findings] == ["line 2"]
    assert found in findings[0].found


def test_a_conversation_is_a_row_whose_last_answer_is_learnt() -> None:
    turns = [("system", "Be kind."), ("user", "Hello"), ("assistant", "Hi"), ("user", "Bread?")]
    said = [{"role": role, "content": text} for role, text in [*turns, ("assistant", "Here.")]]

    samples, findings = parse_samples(json.dumps({"messages": said}).encode())

    assert findings == []
    assert samples == [Sample("Bread?", "Here.", tuple(Turn(*turn) for turn in turns))]


@pytest.mark.parametrize("content", [b"", b"\n \n", b"{}\n" * 1001, LARGE])
def test_a_sample_file_of_no_use_is_one_finding(content: bytes) -> None:
    samples, findings = parse_samples(content)

    assert samples == []
    assert len(findings) == 1


def test_the_neutral_text_is_plain_and_long_enough() -> None:
    text = default_neutral_text()

    assert len(text.split()) > 2000
    assert text.replace("é", "e").isascii()
