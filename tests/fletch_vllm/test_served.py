"""What vLLM can serve of a checkpoint, and what it is told where it cannot: before an engine starts."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from fletch_vllm import command
from fletch_vllm.errors import NotServable
from fletch_vllm.moments import write_moments
from fletch_vllm.served import read_served
from fletch_vllm.wishes import ARCHITECTURE, overrides, parse
from routing.errors import BadCheckpoint, BadRouting, WrongBase
from routing.index import DEFAULT_POLICY, RoutingPolicy
from tests.fletch_vllm.checkpoints import checkpoint
from tests.routing.kinds import factors_of, llama_kinds
from tests.routing.libraries import llama_library, t5_library

ARROW = RoutingPolicy("arrow", top_k=2)


@pytest.fixture(scope="module")
def by_default(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a library whose policy nobody chose."""
    library = llama_library(tmp_path_factory.mktemp("adapters"))
    return checkpoint(tmp_path_factory.mktemp("default"), library, DEFAULT_POLICY)


@pytest.fixture
def executed(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that this process would have become."""
    commands: list[list[str]] = []
    monkeypatch.setattr("os.execv", lambda _path, argv: commands.append(argv))
    return commands


def test_a_policy_that_reads_the_whole_prompt_first_is_refused_with_what_to_do_instead(
    by_default: Path,
) -> None:
    with pytest.raises(NotServable, match=r"a short list of 1 and .* plain base, by 'auto'") as refused:
        read_served(by_default, {})

    assert "--router arrow" in str(refused.value)
    assert "--router single --expert OWNER/NAME" in str(refused.value)


@pytest.mark.parametrize(
    "said", [{"router": "arrow"}, {"router": "single", "experts": ("bob/wide",)}, {"experts": ("bob/wide",)}]
)
def test_a_router_of_tokens_or_experts_by_name_take_its_place(
    by_default: Path, said: dict[str, object]
) -> None:
    routing = read_served(by_default, said).routing

    assert routing.asked_prior is None
    assert {name: getattr(routing, name) for name in said} == said


@pytest.mark.parametrize("router", ["retrieval", "classifier", "lm"])
def test_query_routers_are_refused_by_their_names(by_default: Path, router: str) -> None:
    with pytest.raises(NotServable, match=f"the query router '{router}'"):
        read_served(by_default, {"router": router})


def test_everything_that_is_in_the_way_is_said_at_once(tmp_path: Path) -> None:
    policy = replace(DEFAULT_POLICY, general=("ada/plain",), subtract=0.5)
    folder = checkpoint(tmp_path, t5_library(tmp_path / "adapters"), policy)

    with pytest.raises(NotServable) as refused:
        read_served(folder, {"prior_abstain": True, "experts": ("nobody/here",)})

    said = " ".join(refused.value.reasons)
    assert len(refused.value.reasons) == 4
    for part in ("encoder-decoder", "whole prompt", "0.5 times the mean of ada/plain", "nobody/here"):
        assert part in said


def test_experts_that_work_through_the_weight_are_refused_by_name(tmp_path: Path) -> None:
    library = llama_kinds(tmp_path)
    folder = checkpoint(tmp_path, library, ARROW, factors=factors_of(library, library.base()), neutral=None)

    with pytest.raises(NotServable, match=r"bob/dora, cy/ia3, di/dora, eve/ia3: DoRA or \(IA\)\^3"):
        read_served(folder, {}).route(torch.float32)


def test_calibrated_scores_need_what_is_measured_once(by_default: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(by_default, tmp_path / "checkpoint")
    served = read_served(folder, {"router": "two-stage"})
    with pytest.raises(NotServable, match=r"fletch-vllm calibrate .*checkpoint"):
        served.route(torch.float32)

    written = write_moments(folder)
    way = served.route(torch.float32)

    assert written.parent == folder
    assert all(len(seat.module.moments) == 4 for seat in way.seats.values())


def test_moments_of_another_version_are_refused(by_default: Path, tmp_path: Path) -> None:
    library = llama_library(tmp_path / "adapters")
    other = checkpoint(tmp_path, library, ARROW)
    measured = shutil.copytree(by_default, tmp_path / "measured")
    shutil.copyfile(write_moments(measured), other / "moments.safetensors")

    with pytest.raises(NotServable, match="measured for another index version"):
        read_served(other, {"calibrated": True}).route(torch.float32)


def test_without_neutral_text_nothing_can_be_calibrated(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path, llama_library(tmp_path / "adapters"), ARROW, neutral=None)

    with pytest.raises(NotServable, match="names no neutral text"):
        write_moments(folder)
    with pytest.raises(NotServable, match="names no neutral text"):
        read_served(folder, {"calibrated": True}).route(torch.float32)


def test_a_folder_that_is_no_checkpoint_says_so(tmp_path: Path) -> None:
    with pytest.raises(BadCheckpoint, match=r"fletch\.json"):
        read_served(tmp_path, {})


def test_a_value_that_no_router_takes_is_named(by_default: Path) -> None:
    with pytest.raises(BadRouting, match="top_k"):
        read_served(by_default, {"router": "arrow", "top_k": 0})


def test_wishes_are_what_the_overrides_of_a_configuration_say() -> None:
    said = {"router": "arrow", "top_k": 3, "experts": ["ada/plain"], "abstain": None}

    written = json.loads(overrides(said))

    assert written["architectures"] == [ARCHITECTURE]
    assert parse(written["fletch"]) == {**said, "experts": ("ada/plain",)}
    assert json.loads(overrides({})) == {"architectures": [ARCHITECTURE]}
    assert parse(None) == {}


def test_every_bad_wish_is_named() -> None:
    with pytest.raises(NotServable) as refused:
        parse({"top_k": "3", "calibrated": 1, "shortlist": 2, "temperature": True, "experts": []})

    named = [reason.split(":")[0] for reason in refused.value.reasons]
    assert named == [
        f"fletch.{name}" for name in ("top_k", "calibrated", "shortlist", "temperature", "experts")
    ]
    with pytest.raises(NotServable, match="expected an object"):
        parse("arrow")


def test_serve_checks_the_checkpoint_and_becomes_vllm(by_default: Path, executed: list[list[str]]) -> None:
    options = ["--router", "arrow", "--top-k", "2", "--expert", "ada/plain", "--expert", "bob/wide"]

    run = CliRunner().invoke(
        command.main,
        ["serve", str(by_default), *options, "--name", "tales", "--dtype", "float32", "--port", "9"],
    )

    assert run.exit_code == 0, run.output
    argv = executed[0][1:]
    assert argv[:4] == ["-m", "vllm.entrypoints.openai.api_server", "--model", str(by_default / "base")]
    assert argv[4:7] == ["--served-model-name", "tales", "--hf-overrides"]
    wished = json.loads(argv[7])["fletch"]
    assert wished == {"router": "arrow", "top_k": 2, "experts": ["ada/plain", "bob/wide"]}
    assert argv[8:] == ["--dtype", "float32", "--port", "9"]


def test_serve_refuses_before_anything_starts(by_default: Path, executed: list[list[str]]) -> None:
    run = CliRunner().invoke(command.main, ["serve", str(by_default)])

    assert run.exit_code == 1
    assert "whole prompt" in run.output
    assert not executed


def test_serve_refuses_a_base_that_was_changed(tmp_path: Path, executed: list[list[str]]) -> None:
    folder = checkpoint(tmp_path, llama_library(tmp_path / "adapters"), ARROW)
    config = folder / "base" / "config.json"
    config.write_text(config.read_text().replace('"rms_norm_eps": 1e-06', '"rms_norm_eps": 1e-05'))

    run = CliRunner().invoke(command.main, ["serve", str(folder)])

    assert run.exit_code == 1
    assert "config_digest" in run.output
    assert not executed
    with pytest.raises(WrongBase):
        read_served(folder, {}).compare_base()
