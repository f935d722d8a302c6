"""Composed checkpoints: what is downloaded answers as what was served, in software that knows nothing of us."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from routing import dense
from routing.checkpoint import Source, load_checkpoint, write_routed
from routing.composed import ComposedModel, compose
from routing.errors import BadCheckpoint, CorruptObject, RoutingError, WrongBase
from routing.export import write_adapter, write_merged
from routing.factors import Factors
from routing.merge import MergePlan, merge_experts
from tests.routing.libraries import TEXT, SmallLibrary, gpt2_library, llama_library
from tests.routing.published import POLICY, PublishedLibrary

TWO = ["bob/wide", "eve/late"]


@pytest.fixture(scope="module", params=[llama_library, gpt2_library], ids=["llama", "gpt2"])
def library(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> SmallLibrary:
    return request.param(tmp_path_factory.mktemp("adapters"))


@pytest.fixture(scope="module")
def source(library: SmallLibrary, tmp_path_factory: pytest.TempPathFactory) -> Source:
    published = PublishedLibrary(tmp_path_factory.mktemp("store"), library)
    return Source(published.store, published.manifest(), published.spec, published.base)


@pytest.fixture(scope="module")
def composed(library: SmallLibrary) -> ComposedModel:
    return compose(library.base(), library.experts(), POLICY)


def logits(model: torch.nn.Module, tokens: tuple[int, ...]) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(torch.tensor([tokens])).logits[0].float()


def bytes_below(directory: Path) -> dict[str, str]:
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in directory.rglob("*")
        if path.is_file()
    }


def test_a_routed_checkpoint_answers_as_the_model_it_was_made_of(
    source: Source, composed: ComposedModel, tmp_path: Path
) -> None:
    write_routed(tmp_path / "all", source)
    write_routed(tmp_path / "two", source, experts=TWO)

    everyone, two = load_checkpoint(tmp_path / "all"), load_checkpoint(tmp_path / "two")

    assert torch.equal(everyone.logits(TEXT), composed.logits(TEXT))
    assert everyone.generate(TEXT, max_tokens=9).text == composed.generate(TEXT, max_tokens=9).text
    assert two.experts == tuple(TWO)
    torch.testing.assert_close(
        two.logits(TEXT), composed.logits(TEXT, composed.routing(experts=TWO)), atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize("library", [gpt2_library], ids=["gpt2"], indirect=True)
def test_a_routed_checkpoint_needs_neither_hub_nor_peft(
    source: Source, composed: ComposedModel, tmp_path: Path
) -> None:
    """In a process that begins with nothing, whatever the model is."""
    write_routed(tmp_path / "model", source)
    script = (
        "import sys, json\n"
        "from routing import load_checkpoint\n"
        "model = load_checkpoint(sys.argv[1])\n"
        "print(json.dumps([model.logits(sys.argv[2])[-1].tolist(),\n"
        "    sorted({'django', 'celery', 'peft', 'hub', 'workers', 'starlette'} & sys.modules.keys())]))\n"
    )

    run = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "model"), TEXT], capture_output=True, check=True
    )

    last, loaded = json.loads(run.stdout)
    assert loaded == []
    torch.testing.assert_close(torch.tensor(last), composed.logits(TEXT)[-1], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("experts", [None, TWO])
def test_plain_peft_loads_the_adapter_and_it_is_the_mean(
    source: Source, library: SmallLibrary, composed: ComposedModel, tmp_path: Path, experts: list[str] | None
) -> None:
    write_adapter(tmp_path / "adapter", source, rank=64, experts=experts)

    base = AutoModelForCausalLM.from_pretrained(library.folder)
    theirs = logits(PeftModel.from_pretrained(base, tmp_path / "adapter"), composed.tokens(TEXT))

    uniform = composed.logits(TEXT, composed.routing(router="uniform", experts=experts))
    torch.testing.assert_close(theirs, uniform, atol=1e-4, rtol=1e-4)


def test_an_adapter_of_a_lower_rank_has_that_rank_and_says_what_is_lost(
    source: Source, tmp_path: Path
) -> None:
    write_adapter(tmp_path / "adapter", source, rank=3)

    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    lost = json.loads((tmp_path / "adapter" / "fletch.json").read_text())["lost_energy"]
    assert (config["r"], config["lora_alpha"]) == (3, 3)
    assert lost.keys() == set(config["target_modules"])
    assert 0.0 < max(lost.values()) < 1.0


def test_plain_transformers_loads_the_merged_weights_and_they_are_the_mean(
    source: Source, library: SmallLibrary, composed: ComposedModel, tmp_path: Path
) -> None:
    write_merged(tmp_path / "merged", source)

    model = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "merged")

    base = AutoModelForCausalLM.from_pretrained(library.folder)
    assert model.state_dict().keys() == base.state_dict().keys()
    assert {p.dtype for p in model.parameters()} == {p.dtype for p in base.parameters()}
    assert tuple(tokenizer(TEXT)["input_ids"]) == composed.tokens(TEXT)
    uniform = composed.logits(TEXT, composed.routing(router="uniform"))
    torch.testing.assert_close(logits(model, composed.tokens(TEXT)), uniform, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "plan",
    [
        MergePlan("task-arithmetic", {"bob/wide": 0.7, "eve/late": -0.4}),
        MergePlan("ties", density=0.5, scale=0.8),
        MergePlan("dare-ties", density=0.5, seed=3),
    ],
    ids=lambda plan: plan.method,
)
def test_other_software_loads_every_merge_and_both_exports_agree(
    source: Source, library: SmallLibrary, composed: ComposedModel, tmp_path: Path, plan: MergePlan
) -> None:
    write_adapter(tmp_path / "adapter", source, rank=256, experts=TWO, plan=plan)
    write_merged(tmp_path / "merged", source, experts=TWO, plan=plan)

    base = AutoModelForCausalLM.from_pretrained(library.folder)
    name = next(iter(composed.pack.modules))
    before = base.get_parameter(f"{name}.weight").detach().clone()
    tokens = composed.tokens(TEXT)
    adapted = logits(PeftModel.from_pretrained(base, tmp_path / "adapter"), tokens)
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    update = merge_experts({one: library.experts()[one] for one in TWO}, plan)[name]
    whole = update.b @ update.a if isinstance(update, Factors) else dense.whole(update)
    added = merged.get_parameter(f"{name}.weight") - before
    torch.testing.assert_close(added, whole.T if "h." in name else whole, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(logits(merged, tokens), adapted, atol=2e-3, rtol=2e-3)


def test_an_export_says_how_it_was_merged(source: Source, tmp_path: Path) -> None:
    write_adapter(tmp_path / "one", source, rank=4, experts=TWO, plan=MergePlan("dare-linear", seed=7))

    said = json.loads((tmp_path / "one" / "fletch.json").read_text())
    assert said["merge"] == {
        "method": "dare-linear",
        "weights": {"bob/wide": 0.5, "eve/late": 0.5},
        "scale": 1.0,
        "density": 0.5,
        "seed": 7,
    }
    assert said["rank"] == 4
    assert 0.0 < max(said["lost_energy"].values()) < 1.0
    readme = (tmp_path / "one" / "README.md").read_text()
    assert "method `dare-linear`, equal shares, density 0.5, seed 7" in readme


def test_a_merge_takes_no_general_knowledge_unless_it_is_named(source: Source, tmp_path: Path) -> None:
    policy = replace(POLICY, general=("ada/plain",))
    held = replace(source, manifest=replace(source.manifest, policy=policy))

    write_adapter(tmp_path / "usual", held, rank=4)
    write_adapter(tmp_path / "named", held, rank=4, experts=["ada/plain"])

    usual, named = (
        [one["adapter"] for one in json.loads((tmp_path / kind / "fletch.json").read_text())["experts"]]
        for kind in ("usual", "named")
    )
    assert "ada/plain" not in usual
    assert named == ["ada/plain"]


def test_general_knowledge_comes_along_and_is_subtracted(
    source: Source, library: SmallLibrary, tmp_path: Path
) -> None:
    policy = replace(POLICY, general=("ada/plain", "zoe/gone"), subtract=0.5)
    held = replace(source, manifest=replace(source.manifest, policy=policy))
    uploads = {name: bytes_below(path) for name, path in library.adapters.items()}

    write_routed(tmp_path / "two", held, experts=TWO)

    model = load_checkpoint(tmp_path / "two")
    assert model.experts == ("ada/plain", *TWO)
    chosen = {name: expert for name, expert in library.experts().items() if name in model.experts}
    expected = compose(library.base(), chosen, replace(policy, general=("ada/plain",)))
    torch.testing.assert_close(model.logits(TEXT), expected.logits(TEXT), atol=1e-5, rtol=1e-5)
    assert "ada/plain" not in model.generate(TEXT, max_tokens=2).shares
    assert {name: bytes_below(path) for name, path in library.adapters.items()} == uploads


@pytest.mark.parametrize(
    "write", [write_routed, lambda where, source: write_adapter(where, source, rank=4), write_merged]
)
def test_the_same_inputs_make_the_same_bytes_without_this_machines_paths(
    source: Source, tmp_path: Path, write: Callable[[Path, Source], list[Path]]
) -> None:
    files = write(tmp_path / "one", source)
    write(tmp_path / "other", source)

    assert bytes_below(tmp_path / "one") == bytes_below(tmp_path / "other")
    assert {str(path.relative_to(tmp_path / "one")) for path in files} == bytes_below(tmp_path / "one").keys()
    for path in files:
        if path.suffix in (".json", ".md") and "base" not in path.parts:
            assert str(source.base.source) not in path.read_text()


def test_what_cannot_be_written_or_read_is_refused_with_its_reason(source: Source, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "something").touch()

    with pytest.raises(BadCheckpoint, match="expected an empty folder"):
        write_routed(tmp_path / "full", source)
    with pytest.raises(RoutingError, match="zoe/nobody"):
        write_routed(tmp_path / "a", source, experts=["zoe/nobody"])
    with pytest.raises(BadCheckpoint, match="rank: found 0"):
        write_adapter(tmp_path / "b", source, rank=0)
    with pytest.raises(BadCheckpoint, match=r"fletch\.json"):
        load_checkpoint(tmp_path / "full")


def test_a_damaged_checkpoint_is_refused(source: Source, tmp_path: Path) -> None:
    write_routed(tmp_path / "model", source)
    entry = source.manifest.experts[0]
    expert = tmp_path / "model" / "store" / "objects" / entry.factors[:2] / entry.factors
    whole = expert.read_bytes()
    expert.chmod(0o644)

    expert.write_bytes(whole[:-4] + b"oops")
    with pytest.raises(CorruptObject, match=entry.factors):
        load_checkpoint(tmp_path / "model")

    expert.write_bytes(whole)
    weights = tmp_path / "model" / "base" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"oops")
    with pytest.raises(WrongBase, match="weights_digest"):
        load_checkpoint(tmp_path / "model")


def test_progress_counts_up_to_its_total(source: Source, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []

    write_routed(tmp_path / "model", source, progress=lambda done, total, _note: seen.append((done, total)))

    assert [done for done, _ in seen] == list(range(1, len(seen) + 1))
    assert {total for _, total in seen} == {len(seen)}
