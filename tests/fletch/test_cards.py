"""`fletch init`: what is known is written, what a person wrote stays."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from fletch.cards import read_card
from fletch.exits import CommandError
from tests.fletch.running import Ran, Shell
from tests.tiny import tiny_adapter


def init(shell: Shell, folder: Path, *more: str) -> Ran:
    return shell.fletch("init", folder, "--licence", "apache-2.0", *more)


def test_pefts_empty_template_becomes_a_card(stranger: Shell, tmp_path: Path) -> None:
    folder = tiny_adapter(tmp_path / "past-tense", rank=3, alpha=6, targets=["q_proj"])
    assert "[More Information Needed]" in (folder / "README.md").read_text()

    done = init(
        stranger, folder, "--about", "Puts verbs into the past.", "--base", "org/tiny", "--library", "tiny"
    )

    card = read_card(folder)
    assert done.status == 0, done.err
    assert card.facts == {
        "base_model": "org/tiny",
        "library_name": "peft",
        "tags": ["lora", "transformers"],
        "license": "apache-2.0",
        "pipeline_tag": "text-generation",
        "fletch_library": "tiny",
    }
    assert "# past-tense\n\nPuts verbs into the past.\n\nA LoRA of rank 3, alpha 6, on q_proj" in card.body


def test_a_place_on_this_machine_is_no_base_for_others(stranger: Shell, tmp_path: Path) -> None:
    folder = tiny_adapter(tmp_path / "boats")

    done = init(stranger, folder, "--about", "Knows boats.", "--json")

    assert "/" not in done.document["facts"]["base_model"]
    assert not [tag for tag in done.document["facts"]["tags"] if "/" in tag]
    assert "is a place on this machine" in done.err


def test_what_a_person_wrote_stays(stranger: Shell, tmp_path: Path) -> None:
    folder = tiny_adapter(tmp_path / "boats")
    front = {"base_model": "org/tiny", "tags": ["sea"], "datasets": ["org/boats"]}
    (folder / "README.md").write_text(
        f"---\n{yaml.safe_dump(front)}---\n\n# My boats\n\nThey float: [more](x).\n"
    )

    init(stranger, folder, "--tag", "harbour")
    init(stranger, folder, "--tag", "harbour")

    card = read_card(folder)
    assert card.body.strip() == "# My boats\n\nThey float: [more](x)."
    assert card.facts["datasets"] == ["org/boats"]
    assert card.facts["tags"] == ["sea", "lora", "harbour"]
    assert card.facts["base_model"] == "org/tiny"


def test_what_is_missing_is_said(stranger: Shell, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()

    nothing = init(stranger, empty, "--about", "x", "--json")
    silent = init(stranger, tiny_adapter(tmp_path / "boats"))

    assert nothing.status == 1
    assert nothing.document["findings"][0]["found"] == "no such file"
    assert silent.status == 2
    assert "--about: found nothing" in silent.err


@pytest.mark.parametrize("front", ["a: [", "- a\n- b", "!!python/object/apply:os.system ['true']"])
def test_a_broken_front_matter_is_said_and_never_run(tmp_path: Path, front: str) -> None:
    (tmp_path / "README.md").write_text(f"---\n{front}\n---\n")

    with pytest.raises(CommandError, match="front matter"):
        read_card(tmp_path)
