"""The page of one file: its tensors or its text, for those who may have the file, whatever a stranger wrote."""

import html
import json
import re

import pytest
from django.test import Client

from hub.accounts.models import User
from hub.adapters import access
from hub.adapters.models import Adapter, Release
from hub.library.models import Library
from tests.hub import making
from tests.pages import content, numbers
from tests.pages.conftest import seen_by

WEIGHTS = "adapter_model.safetensors"


@pytest.fixture
def ada(db: None) -> User:
    return making.user("ada")


@pytest.fixture
def library(ada: User) -> Library:
    return making.library()


def page(client: Client, release: Release, path: str = WEIGHTS) -> str:
    """The words of a file's page."""
    answer = client.get(f"/{release.adapter.full_name}/releases/{release.oid}/files/{path}")
    assert answer.status_code == 200
    return html.unescape(" ".join(re.sub(r"<[^>]+>", " ", answer.content.decode()).split()))


def with_header(ada: User, library: Library, header: bytes, length: int | None = None) -> Release:
    said = len(header) if length is None else length
    files = {**making.PLAIN, WEIGHTS: said.to_bytes(8, "little") + header}
    return making.upload(ada, library, files=files)


def test_tensors_are_listed_with_types_and_shapes_layer_by_layer(ada: User, library: Library) -> None:
    files = {**making.PLAIN, WEIGHTS: numbers.weights("x", layers=11)}
    release = making.upload(ada, library, files=files)

    said = page(Client(), release)

    assert "Tensors 22, 101,376 numbers, F32" in said
    assert "layers.0.self_attn.q_proj.lora_A.weight F32 8 \N{MULTIPLICATION SIGN} 576 4,608 18.0 KiB" in said
    assert said.index("layers.9.") < said.index("layers.10.")
    assert "Metadata format pt" in said


@pytest.mark.parametrize(
    ("header", "length", "said"),
    [
        (b"{}", 10**15, "it says to be longer than the file"),
        (b"no json", None, "it is no JSON"),
        (b"[" * 100_000, None, "it is no JSON"),
        (b"[1]", None, "it is no JSON object"),
        (b" " * 1_100_000, None, "it is longer than 1048576 bytes"),
        (
            b'{"a": 5, "b": {"shape": [-1], "data_offsets": [9, 3], "dtype": {}}}',
            None,
            "Tensors 2, 2 numbers",
        ),
    ],
)
def test_a_header_that_lies_is_named_and_breaks_nothing(
    ada: User, library: Library, header: bytes, length: int | None, said: str
) -> None:
    assert said in page(Client(), with_header(ada, library, header, length))


def test_names_of_tensors_are_text(ada: User, library: Library) -> None:
    header = json.dumps({content.HOSTILE: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}})
    release = with_header(ada, library, header.encode())

    answer = Client().get(f"/ada/poetry/releases/{release.oid}/files/{WEIGHTS}")

    assert b"<script>alert" not in answer.content


def test_what_is_in_a_file_is_shown_to_whom_may_have_it_alone(ada: User, library: Library) -> None:
    bob = making.user("bob")
    release = making.upload(ada, library)
    access.gate(adapter=release.adapter, gating=Adapter.Gating.MANUAL)
    config = "adapter_config.json"

    assert "Not shown to you" in page(seen_by(bob), release, config)
    assert "lora_alpha" in page(seen_by(ada), release, config)
    access.invite(adapter=release.adapter, user=bob)
    assert "lora_alpha" in page(seen_by(bob), release, config)


def test_a_file_that_is_not_there_is_not_found(ada: User, library: Library) -> None:
    release = making.upload(ada, library)

    assert Client().get(f"/ada/poetry/releases/{release.oid}/files/none").status_code == 404
