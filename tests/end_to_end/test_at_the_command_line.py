"""The whole way of a contributor: card, check, upload, verdict, question, checkpoint, all by the real command."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from peft import PeftModel
from safetensors.torch import load_file, save_file

from tests.end_to_end.hub_process import RunningHub
from tests.fletch.running import Shell
from tests.tiny import tiny_adapter, tiny_llama, tiny_model

pytestmark = [pytest.mark.long(20), pytest.mark.together("one hub")]


@dataclass(frozen=True)
class Shells:
    """Of two people, signed in to the same hub."""

    eva: Shell
    finn: Shell


@pytest.fixture
def shells(one_hub: RunningHub, tmp_path: Path) -> Shells:
    """Eva contributes to a library, Finn is nobody in particular."""
    # random adapters know nothing, so by default no prompt would be theirs
    founding = ("create_library", "shore", str(tiny_llama()), "--router", "arrow", "--wait")
    tokens = one_hub.people({"eva": ("write",), "finn": ("infer",)}, founding)
    home = tmp_path / "home"
    home.mkdir()
    eva, finn = (Shell(home, {"FLETCH_HUB": one_hub.web, "FLETCH_TOKEN": token}) for token in tokens.values())
    return Shells(eva, finn)


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
def test_from_a_folder_to_a_composed_checkpoint(shells: Shells, tmp_path: Path) -> None:
    eva = shells.eva
    boats, bad = tiny_adapter(tmp_path / "boats", seed=1), broken(tmp_path / "bad")

    written = eva.fletch(
        *(
            "init",
            boats,
            "--licence",
            "mit",
            "--about",
            "Knows boats.",
            "--library",
            "shore",
            "--tag",
            "boats",
        )
    )
    checked = eva.fletch("check", boats, "--base", tiny_llama(), "--library", "shore", "--json")
    uploaded = eva.fletch("upload", boats, "--follow", "--until", "served", "--json")
    faults = eva.fletch("check", bad, "--library", "shore", "--json")
    unsent = eva.fletch("upload", bad, "--library", "shore", "--json")
    rejected = eva.fletch("upload", bad, "--library", "shore", "--unchecked", "--follow", "--json")

    assert written.status == 0, written.err
    assert "fletch_library: shore" in (boats / "README.md").read_text()
    assert checked.status == 0, checked.err
    assert uploaded.status == 0, uploaded.err
    assert checked.document["findings"] == uploaded.document["findings"]
    assert checked.document["measurements"] == uploaded.document["measurements"]
    assert uploaded.document["live"]
    assert (faults.status, unsent.status, rejected.status) == (1, 1, 1), faults.err + rejected.err
    assert {finding["severity"] for finding in faults.document["findings"]} == {"error", "warning"}
    assert faults.document["findings"] == rejected.document["findings"] == unsent.document["findings"]
    assert rejected.document["number"] == 1

    asks_and_takes_home(eva, tmp_path, boats)
    asks_with_what_is_hers_alone(shells, tmp_path)


def asks_and_takes_home(eva: Shell, tmp_path: Path, boats: Path) -> None:
    """On a hub that serves eva/boats."""
    status = eva.fletch("status", "eva/boats")
    answer = eva.fletch("ask", "shore", "The ferry", "--max-tokens", "6", "--json")
    piped = eva.fletch("ask", "shore", "--max-tokens", "6", stdin="The ferry")
    alone = eva.fletch("ask", "shore", "The ferry", "--alone", "base", "--max-tokens", "6", "--json")
    composed = eva.fletch(
        "compose", "shore", "--kind", "adapter", "--rank", "4", "--to", tmp_path / "composed"
    )
    fetched = eva.fletch("download", "eva/boats", "--to", tmp_path / "fetched", "--json")
    again = eva.fletch("download", "eva/boats", "--to", tmp_path / "fetched", "--json")
    nobody = eva.fletch("download", "eva/gulls", "--to", tmp_path / "nothing")

    assert status.status == 0
    assert "ready, served by shore" in status.out
    assert [row["adapter"] for row in answer.document["experts"]] == ["eva/boats"]
    assert piped.out == answer.document["answer"] + "\n"
    assert "shore@1: eva/boats 100%" in piped.err
    assert alone.document["experts"] == []
    assert composed.status == 0, composed.err
    PeftModel.from_pretrained(tiny_model(tiny_llama()), tmp_path / "composed")
    assert fetched.status == 0, fetched.err
    assert {path.name: path.read_bytes() for path in (tmp_path / "fetched").iterdir()} == {
        path.name: path.read_bytes() for path in boats.iterdir()
    }
    assert again.document["bytes_received"] == 0
    assert nobody.status == 4
    assert "there is no adapter eva/gulls" in nobody.err


def asks_with_what_is_hers_alone(shells: Shells, tmp_path: Path) -> None:
    """On a hub that serves eva/boats at version 1."""
    eva, finn = shells.eva, shells.finn
    secret, asking = (
        tiny_adapter(tmp_path / "secret", seed=7),
        ("ask", "shore", "The ferry", "--max-tokens", "6"),
    )
    kept = eva.fletch("upload", secret, "--library", "shore", "--private", "--follow")
    assert kept.status == 0, kept.err

    hers, without = eva.fletch(*asking), eva.fletch(*asking, "--no-private")
    alone = eva.fletch(*asking, "--alone", "eva/secret", "--json")
    his, not_his = finn.fletch(*asking), finn.fletch(*asking, "--alone", "eva/secret")

    assert "shore@1 with 1 private expert: " in hers.err
    assert "eva/secret" in hers.err
    assert "shore@1: eva/boats 100%" in without.err
    assert alone.document["private"]["experts"] == ["eva/secret"]
    assert [row["adapter"] for row in alone.document["experts"]] == ["eva/secret"]
    assert (his.out, his.err) == (without.out, without.err)
    assert not_his.status == 4
