"""The bench of a GPU, where none is: it runs, refuses with a sentence, and would not time what is wrong."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch

from bench import gpu, models, report
from bench.gpu import Phase, bound, checked, main
from bench.models import SHAPES, Shape, as_base, llama, pack_on_device
from routing import accelerated, graph_trial, triton_calls
from routing.capturing import decoder_for
from routing.pack import ModulePack
from routing.spec import BaseSpec, TargetModule
from tests.routing.as_a_gpu import Kernels
from tests.routing.recorded import TensorRecorder

CPU = torch.device("cpu")
LAYER = TargetModule("layer", "linear", 40, 24, spectral_norm=1.0)


@pytest.fixture
def very_tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is asked for as tiny is smaller still: it is passed through dozens of times, in Triton's interpreter."""
    monkeypatch.setitem(models.SHAPES, "tiny", Shape(32, 2, 48, 2, 1, 1024))


def module_of(experts: int) -> ModulePack:
    spec = BaseSpec("bench", "LlamaForCausalLM", None, "", "", "", 8, 64, (LAYER,))
    return pack_on_device(spec, experts, rank=3, device=CPU, dtype=torch.bfloat16).modules["layer"]


@pytest.mark.usefixtures("very_tiny")
def test_the_whole_command_runs_on_tiny_shapes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    asked = "--device cpu --size tiny --experts 4 1000000000 --batches 2 --prompts 20 --repeats 1"
    monkeypatch.setattr(sys, "argv", ["bench.gpu", *asked.split()])
    monkeypatch.setattr(gpu, "_free", lambda _: 2.0**40)

    main()

    figures = json.loads((tmp_path / "gpu-tiny-bfloat16.json").read_text())
    assert not figures["kernels"]
    decode, prompt, *too_many = figures["rows"]
    assert (decode["phase"], prompt["phase"]) == ("decode, 2 at once", "prompt of 20")
    assert decode["routed_ms"] > 0 < prompt["base_ms"]
    assert [row["needed"] > row["free"] for row in too_many] == [True, True]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["bench.gpu"])
    with pytest.raises(SystemExit, match="torch finds none here; to try the command itself"):
        main()


@pytest.mark.parametrize("trouble", ["", "chooses", "mixes"])
def test_what_is_wrong_is_not_timed(trouble: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accelerated, "DEVICE", "cpu")
    monkeypatch.setattr(accelerated, "kernels", lambda *_: triton_calls)
    monkeypatch.setattr(gpu, "CHECKED", (2, 5))
    monkeypatch.setattr(triton_calls, "FEW", 3)
    module, right = module_of(20), triton_calls.arrow
    if trouble == "chooses":
        monkeypatch.setattr(triton_calls, "arrow", lambda hidden, *rest: right(hidden + 1, *rest))
    if trouble == "mixes":
        monkeypatch.setattr(triton_calls, "mix", lambda output, *_: output.fill_(1.0))

    with np.errstate(all="ignore"):
        if trouble:
            with pytest.raises(SystemExit, match=r"off by|largest below the best"):
                checked(module)
            return
        found = checked(module)

    assert found["same_bits_alone"]
    assert found["off"] < accelerated.TOLERANCE[torch.bfloat16]


def test_the_bound_counts_prototypes_in_float32_and_experts_in_the_dtype_of_the_base() -> None:
    base = as_base(llama(SHAPES["tiny"], dtype=torch.bfloat16))
    base = replace(base, spec=replace(base.spec, target_modules=(LAYER,)))
    with patch.object(base.model.config, "vocab_size", 0):  # no head
        decoded = bound(base, Phase(1, prompt=False), experts=10, rank=3)
        prompt = bound(base, Phase(100, prompt=True), experts=10, rank=3)

    assert decoded == pytest.approx(1 + (4 * 10 * 40 + 2 * 2 * 3 * 64) / (2 * 40 * 24))
    assert prompt == pytest.approx(1 + (10 * 40 + 2 * 3 * 64) / (40 * 24))


@pytest.mark.usefixtures("very_tiny")
def test_decoding_is_timed_with_graphs_and_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    monkeypatch.setattr(accelerated, "DEVICE", "cpu")
    monkeypatch.setattr(accelerated, "kernels", lambda *_: Kernels)
    monkeypatch.setattr(graph_trial, "TRIED_TOKENS", 20)
    monkeypatch.setattr(gpu, "decoder_for", partial(decoder_for, recorder=TensorRecorder))
    asked = "--device cpu --size tiny --experts 4 --batches 1 --prompts 20 --repeats 1"
    monkeypatch.setattr(sys, "argv", ["bench.gpu", *asked.split()])

    main()

    decoding, prompt = json.loads((tmp_path / "gpu-tiny-bfloat16.json").read_text())["rows"]
    assert {"base_ms", "routed_ms", "base_graph_ms", "graph_ms", "chosen_ms", "chosen_graph_ms"} <= set(
        decoding
    )
    assert "graph_ms" not in prompt
