"""What a base keeps in its masks, or tells its attention beside them, is noticed before answers are read together."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, masking_utils
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from routing import ragged_trial
from routing.base import Base, load_base
from routing.engine import Engine, Step
from routing.generation import Generation, Request
from routing.ragged_trial import reads_ragged
from routing.routed import RoutedModel
from routing.sampling import Sampling
from tests.tiny import CONTEXT, VOCABULARY, tiny_llama, tiny_tokenizer

SHAPE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": CONTEXT,
    "initializer_range": 0.3,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 1,
}
EXPERTS = {"num_experts_per_tok": 2}
WINDOW = 8
KINDS: dict[str, dict[str, Any]] = {
    "llama": {},
    "mistral": {"sliding_window": WINDOW},
    "qwen2": {"use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 1},  # full, sliding
    "phimoe": {"num_local_experts": 4, "sliding_window": WINDOW, **EXPERTS},
    "qwen2_moe": {
        "use_sliding_window": True,
        "sliding_window": WINDOW,
        "max_window_layers": 1,
        "num_experts": 4,
        "moe_intermediate_size": 32,
        "shared_expert_intermediate_size": 32,
        **EXPERTS,
    },
    "llama4_text": {"attention_chunk_size": WINDOW, "num_local_experts": 2, "head_dim": 8},
}
UNTOLD = "a layer names everything before them, but by its mask tokens see something else"


def model_of(kind: str, **more: Any) -> Any:
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **{**SHAPE, **KINDS[kind], **more}))


@cache
def described() -> Base:
    return load_base(tiny_llama())


def base_of(kind: str, *, context: int = CONTEXT, **more: Any) -> Base:
    """A base of this kind with another's description: the same vocabulary and context."""
    model = model_of(kind, max_position_embeddings=context, **more).eval()
    spec = replace(described().spec, name=kind, context=context)
    return replace(described(), model=model, spec=spec)


@pytest.mark.parametrize("kind", ["llama", "mistral", "qwen2"])
def test_bases_whose_layers_name_their_windows_read_together(kind: str) -> None:
    assert reads_ragged(base_of(kind))


@pytest.mark.parametrize("kind", ["phimoe", "qwen2_moe"])
def test_a_window_that_only_the_mask_knows_of_is_noticed(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    base = base_of(kind)

    assert not reads_ragged(base)

    assert f"{kind}: answers are read one by one, not together: {UNTOLD} ({WINDOW} of the" in caplog.text
    assert base.model.config._attn_implementation == "sdpa"


@pytest.mark.parametrize("kind", ["phimoe", "qwen2_moe"])
def test_a_window_longer_than_any_text_is_none(kind: str) -> None:
    assert reads_ragged(base_of(kind, sliding_window=CONTEXT))


def test_chunks_are_noticed_whatever_the_configuration_calls_its_layers(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not reads_ragged(base_of("llama4_text"))
    assert "some of its layers are not plain attention" in caplog.text

    monkeypatch.setattr(
        ragged_trial, "KNOWN_LAYERS", {"full_attention", "sliding_attention", "chunked_attention"}
    )
    assert not reads_ragged(base_of("llama4_text"))
    assert UNTOLD in caplog.text


def test_a_scale_that_grows_with_what_is_remembered_is_noticed(caplog: pytest.LogCaptureFixture) -> None:
    """Queries of layers without positions are scaled from `floor_scale` tokens on, by the cache's length."""
    plain: dict[str, Any] = {
        "layer_types": ["full_attention"] * 2,
        "no_rope_layers": [0, 0],
        "attn_scale": 2.0,
    }

    assert reads_ragged(base_of("llama4_text", **plain, attn_temperature_tuning=False))
    assert not reads_ragged(base_of("llama4_text", **plain, attn_temperature_tuning=True, floor_scale=100))

    assert "logits differ by" in caplog.text


@pytest.mark.parametrize(("kind", "reason"), [("dynamic", "its positions depend"), ("default", "")])
def test_positions_that_depend_on_the_longest_text_are_found_in_a_nested_configuration(
    kind: str, reason: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As of bases that see or hear beside reading: what is said of text is a part of what is said."""
    base = base_of("llama")
    text = AutoConfig.for_model("llama", **SHAPE)
    text.rope_parameters = {"rope_type": kind, "rope_theta": 10000.0, "factor": 2.0}
    monkeypatch.setattr(type(base.model.config), "get_text_config", lambda *_, **__: text)

    assert reads_ragged(base) is not bool(reason)

    assert reason in caplog.text


def test_answers_of_such_a_base_are_what_it_says_alone(tmp_path: Path) -> None:
    model_of("phimoe").save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    model = RoutedModel(load_base(tmp_path))
    prompts = [[(7 * place) % 300 + 2 for place in range(length)] for length in (40, 3)]
    said: list[list[int]] = [[] for _ in prompts]
    engine = Engine()
    for prompt, tokens in zip(prompts, said, strict=True):
        generation = Generation(model, Request(tuple(prompt), 4, sampling=Sampling(0.0)))
        engine.submit([(generation, partial(_keep, tokens))])
    while engine.step():
        pass

    for prompt, tokens in zip(prompts, said, strict=True):
        text = list(prompt)
        for _ in range(4):
            text.append(int(model.base.model(torch.tensor([text])).logits[0, -1].argmax()))
        assert tokens == text[len(prompt) :]


def test_a_long_window_is_tried_without_reading_a_long_text(caplog: pytest.LogCaptureFixture) -> None:
    base, lengths = base_of("phimoe", context=9000, sliding_window=4096), []
    base.model.register_forward_pre_hook(
        lambda _, __, given: lengths.append(given["input_ids"].shape[1]), with_kwargs=True
    )

    assert not reads_ragged(base)

    assert f"{UNTOLD} (4096 of the 9000" in caplog.text
    assert max(lengths) < 10


def test_masks_that_let_far_tokens_see_what_follows_are_noticed(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        masking_utils, "causal_mask_function", lambda _, __, own, other: (other <= own) | (own > 100)
    )

    assert not reads_ragged(base_of("llama"))

    assert UNTOLD in caplog.text


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ({"position_bias": torch.zeros(1, 4, 1, 1)}, "its attention is also given position_bias"),
        ({"s_aux": torch.zeros(4)}, "its attention is also given s_aux"),
        ({"sliding_window": 5}, "a layer names a window of 5 tokens, but by its mask tokens see"),
    ],
)
def test_what_attention_is_told_beside_the_mask_is_noticed(
    told: dict[str, Any], reason: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Biases of nothing, as of training that has just begun: no text shows them, another state of it might."""
    _calling(monkeypatch, lambda given: given.update(told))

    assert not reads_ragged(base_of("llama"))

    assert reason in caplog.text


def test_masks_that_a_layer_makes_or_changes_itself_are_noticed(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where attention is biased by distance."""
    _calling(
        monkeypatch, lambda given: given.update(attention_mask=given["attention_mask"] * torch.tensor(0.0))
    )

    assert not reads_ragged(base_of("llama"))

    assert "it makes masks of its own" in caplog.text


def test_a_base_with_attention_of_its_own_is_noticed(caplog: pytest.LogCaptureFixture) -> None:
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": VOCABULARY}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model("falcon", **shape)).eval()
    caplog.set_level(logging.WARNING)

    assert not reads_ragged(replace(described(), model=model))

    assert "its attention is not transformers' own" in caplog.text


def _keep(tokens: list[int], step: Step) -> None:
    tokens += [token.token for token in step.tokens]


def _calling(monkeypatch: pytest.MonkeyPatch, change: Callable[[dict[str, Any]], None]) -> None:
    """Have Llama's layers call whichever attention they use with something changed."""
    found = ALL_ATTENTION_FUNCTIONS.get_interface

    def get(name: str, plain: Any) -> Any:
        attention = found(name, plain)

        def called(module: Any, query: Any, key: Any, value: Any, mask: Any, **given: Any) -> Any:
            given["attention_mask"] = mask
            change(given)
            return attention(module, query, key, value, **given)

        return called

    monkeypatch.setattr(ALL_ATTENTION_FUNCTIONS, "get_interface", get)
