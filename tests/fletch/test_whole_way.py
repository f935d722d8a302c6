"""The whole way of a contributor: card, check, upload, verdict, question, checkpoint, all by the real command."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from peft import PeftModel
from safetensors.torch import load_file, save_file

from tests.end_to_end.hub_process import RunningHub, running_hub
from tests.fletch.running import Shell
from tests.tiny import tiny_adapter, tiny_llama, tiny_model

pytestmark = pytest.mark.long


@pytest.fixture
def running(tmp_path: Path) -> Iterator[RunningHub]:
    with running_hub(tmp_path / "data", {}) as hub:
        # random adapters know nothing, so by default no prompt would be theirs
        hub.manage("create_library", "tiny", str(tiny_llama()), "--router", "arrow", "--wait")
        yield hub


@pytest.fixture
def ada(running: RunningHub, stranger: Shell) -> Shell:
    return shell_of(running, stranger, "ada", "write")


def shell_of(running: RunningHub, stranger: Shell, name: str, scope: str) -> Shell:
    """Of a new person, signed in."""
    running.manage("create_user", name, "--email", f"{name}@example.org")
    token = running.manage("create_token", name, "--scope", scope).splitlines()[-1]
    return Shell(stranger.home, {"FLETCH_HUB": running.web, "FLETCH_TOKEN": token})


def broken(folder: Path) -> Path:
    """An adapter with three kinds of fault, and a file that does not belong."""
    tiny_adapter(folder, rank=2)
    tensors = load_file(folder / "adapter_model.safetensors")
    first, *_ = sorted(tensors)
    tensors[f"{first}.again"] = tensors[first].clone()
    save_file(tensors, folder / "adapter_model.safetensors")
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**config, "lora_bias": True, "r": 7}))
    (folder / "optimizer.pt").write_bytes(b"pickled")
    return folder


@pytest.mark.timeout(240)
def test_from_a_folder_to_a_composed_checkpoint(running: RunningHub, ada: Shell, tmp_path: Path) -> None:
    boats, bad = tiny_adapter(tmp_path / "boats", seed=1), broken(tmp_path / "bad")

    written = ada.fletch(
        *("init", boats, "--licence", "mit", "--about", "Knows boats.", "--library", "tiny", "--tag", "boats")
    )
    checked = ada.fletch("check", boats, "--base", tiny_llama(), "--library", "tiny", "--json")
    uploaded = ada.fletch("upload", boats, "--follow", "--until", "served", "--json")
    faults = ada.fletch("check", bad, "--library", "tiny", "--json")
    unsent = ada.fletch("upload", bad, "--library", "tiny", "--json")
    rejected = ada.fletch("upload", bad, "--library", "tiny", "--unchecked", "--follow", "--json")

    assert written.status == 0, written.err
    assert "fletch_library: tiny" in (boats / "README.md").read_text()
    assert checked.status == 0, checked.err
    assert uploaded.status == 0, uploaded.err
    assert checked.document["findings"] == uploaded.document["findings"]
    assert checked.document["measurements"] == uploaded.document["measurements"]
    assert uploaded.document["live"]
    assert (faults.status, unsent.status, rejected.status) == (1, 1, 1), faults.err + rejected.err
    assert {finding["severity"] for finding in faults.document["findings"]} == {"error", "warning"}
    assert faults.document["findings"] == rejected.document["findings"] == unsent.document["findings"]
    assert rejected.document["number"] == 1

    asks_and_takes_home(ada, tmp_path, boats)
    asks_with_what_is_hers_alone(ada, shell_of(running, ada, "bob", "infer"), tmp_path)


def asks_and_takes_home(ada: Shell, tmp_path: Path, boats: Path) -> None:
    """On a hub that serves ada/boats."""
    status = ada.fletch("status", "ada/boats")
    answer = ada.fletch("ask", "tiny", "The ferry", "--max-tokens", "6", "--json")
    piped = ada.fletch("ask", "tiny", "--max-tokens", "6", stdin="The ferry")
    alone = ada.fletch("ask", "tiny", "The ferry", "--alone", "base", "--max-tokens", "6", "--json")
    composed = ada.fletch(
        "compose", "tiny", "--kind", "adapter", "--rank", "4", "--to", tmp_path / "composed"
    )
    fetched = ada.fletch("download", "ada/boats", "--to", tmp_path / "fetched", "--json")
    again = ada.fletch("download", "ada/boats", "--to", tmp_path / "fetched", "--json")
    nobody = ada.fletch("download", "ada/gulls", "--to", tmp_path / "nothing")

    assert status.status == 0
    assert "ready, served by tiny" in status.out
    assert [row["adapter"] for row in answer.document["experts"]] == ["ada/boats"]
    assert piped.out == answer.document["answer"] + "\n"
    assert "tiny@1: ada/boats 100%" in piped.err
    assert alone.document["experts"] == []
    assert composed.status == 0, composed.err
    PeftModel.from_pretrained(tiny_model(tiny_llama()), tmp_path / "composed")
    assert fetched.status == 0, fetched.err
    assert {path.name: path.read_bytes() for path in (tmp_path / "fetched").iterdir()} == {
        path.name: path.read_bytes() for path in boats.iterdir()
    }
    assert again.document["bytes_received"] == 0
    assert nobody.status == 4
    assert "there is no adapter ada/gulls" in nobody.err


def asks_with_what_is_hers_alone(ada: Shell, bob: Shell, tmp_path: Path) -> None:
    """On a hub that serves ada/boats at version 1, and on which bob is nobody in particular."""
    secret, asking = (
        tiny_adapter(tmp_path / "secret", seed=7),
        ("ask", "tiny", "The ferry", "--max-tokens", "6"),
    )
    kept = ada.fletch("upload", secret, "--library", "tiny", "--private", "--follow")
    assert kept.status == 0, kept.err

    hers, without = ada.fletch(*asking), ada.fletch(*asking, "--no-private")
    alone = ada.fletch(*asking, "--alone", "ada/secret", "--json")
    his, not_his = bob.fletch(*asking), bob.fletch(*asking, "--alone", "ada/secret")

    assert "tiny@1 with 1 private expert: " in hers.err
    assert "ada/secret" in hers.err
    assert "tiny@1: ada/boats 100%" in without.err
    assert alone.document["private"]["experts"] == ["ada/secret"]
    assert [row["adapter"] for row in alone.document["experts"]] == ["ada/secret"]
    assert (his.out, his.err) == (without.out, without.err)
    assert not_his.status == 4
