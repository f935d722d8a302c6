"""What changed from one release to another, as far as the visitor may know."""

import html
import json
import re
from typing import Any

import pytest
from django.test import Client

from hub.accounts.models import User
from hub.adapters import access
from hub.adapters.models import Adapter, Release
from hub.library.models import Library
from tests.hub import making
from tests.pages import content, numbers
from tests.pages.conftest import seen_by

CONFIG = {"peft_type": "LORA", "r": 8, "lora_alpha": 16, "target_modules": ["q_proj", "v_proj"]}


@pytest.fixture
def ada(db: None) -> User:
    return making.user("ada")


@pytest.fixture
def library(ada: User) -> Library:
    return content.found_library()


def release(ada: User, library: Library, config: dict[str, Any], card: str, **more: bytes) -> Release:
    files = {
        "adapter_config.json": json.dumps(config).encode(),
        "adapter_model.safetensors": numbers.weights(card),
        "README.md": card.encode(),
        **{name.replace("_", "."): data for name, data in more.items()},
    }
    return making.upload(ada, library, "haiku", files)


def page(client: Client, of: Release, query: str = "") -> str:
    answer = client.get(f"/{of.adapter.full_name}/releases/{of.oid}/changes{query}")
    assert answer.status_code == 200
    return html.unescape(" ".join(re.sub(r"<[^>]+>", " ", answer.content.decode()).split()))


def test_files_fields_and_lines_that_changed_are_listed_and_no_others(ada: User, library: Library) -> None:
    release(ada, library, CONFIG, "# Haiku\n\nFive, seven, five.\n", notes_txt=b"old")
    changed = {**CONFIG, "r": 16, "target_modules": ["v_proj", "q_proj"], "use_rslora": True}
    second = release(ada, library, changed, "# Haiku\n\nFive, seven, six.\n", more_txt=b"newer")

    said = page(Client(), second)

    assert "more.txt Added \N{EN DASH} 5 bytes" in said
    assert "notes.txt Removed 3 bytes \N{EN DASH}" in said
    assert "r 8 16" in said
    assert "use_rslora not set true" in said
    assert "lora_alpha" not in said
    assert "target_modules" not in said
    assert "\N{MINUS SIGN} Five, seven, five. + Five, seven, six." in said


def test_updates_are_compared_once_both_are_experts(ada: User, library: Library) -> None:
    content.ready(ada, library, "haiku", rank=8)
    second = content.ready(ada, library, "haiku", message="again", rank=16)

    said = page(Client(), second)

    assert re.search(r"Similarity of the two updates 0\.[78]\d", said)
    assert "Largest rank 8 16" in said
    assert "Target modules 36 36" in said


def test_any_two_releases_of_an_adapter_can_be_compared(ada: User, library: Library) -> None:
    first, _, third = (release(ada, library, CONFIG | {"r": rank}, f"# {rank}\n") for rank in (2, 4, 8))

    said = page(Client(), third, f"?against={first.oid}")

    assert "Compared with release 1" in said
    assert "r 2 8" in said
    assert Client().get(f"/ada/haiku/releases/{third.oid}/changes?against=none").status_code == 404


def test_the_first_release_has_nothing_before_it(ada: User, library: Library) -> None:
    assert "This is the first release" in page(Client(), release(ada, library, CONFIG, "# 1\n"))


def test_who_may_not_have_the_files_sees_that_they_changed_and_not_what_is_in_them(
    ada: User, library: Library
) -> None:
    release(ada, library, CONFIG, "# Haiku\n")
    second = release(ada, library, {**CONFIG, "r": 99}, "# Haiku\n")
    access.gate(adapter=second.adapter, gating=Adapter.Gating.MANUAL)

    theirs, hers = page(seen_by(making.user("bob")), second), page(seen_by(ada), second)

    assert "adapter_config.json Changed" in theirs
    assert "99" not in theirs.replace(second.oid, "")
    assert "r 8 99" in hers


def test_a_card_that_is_very_long_is_not_compared(ada: User, library: Library) -> None:
    release(ada, library, CONFIG, "a\n" * 1_500)
    second = release(ada, library, CONFIG, "b\n" * 1_500)

    assert "too long to be compared" in page(Client(), second)
