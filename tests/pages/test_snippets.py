"""What a person pastes loads the base that the library really grows on."""

import subprocess

import pytest

from hub.library.models import Library
from hub.pages import snippets

CAUSAL = Library(slug="quill", base_source="fletch/quill", base_spec={"name": "quill"})
BOTH_HALVES = Library(
    slug="letters", base_source="fletch/letters", base_spec={"name": "letters", "family": "encoder-decoder"}
)


@pytest.mark.parametrize(
    ("library", "loader"), [(CAUSAL, "AutoModelForCausalLM"), (BOTH_HALVES, "AutoModelForSeq2SeqLM")]
)
def test_a_base_is_loaded_by_the_class_of_its_family(library: Library, loader: str) -> None:
    lines = [
        snippets.load_with_peft(library, "ada/poetry", "0" * 40),
        *(
            snippets.load_checkpoint(kind, url="http://hub/c/1", folder="c-1", library=library)
            for kind in ("adapter", "merged")
        ),
    ]

    for text in lines:
        compile(text.partition("'\n")[2].rpartition("'")[0] or text, "snippet", "exec")
        assert text.count(loader) == 2
        assert text.count("AutoModelFor") == 2


def test_a_library_whose_base_is_not_inspected_yet_is_taken_for_causal() -> None:
    assert snippets.auto_class(Library(slug="new")) == "AutoModelForCausalLM"


def test_where_a_pass_is_needed_what_is_pasted_asks_for_one() -> None:
    needed = snippets.Served("http://models", "quill", "http://hub")
    shell, python = snippets.ask_served_model(needed, "quill"), snippets.openai_client(needed, "quill")

    subprocess.run(["bash", "-n"], input=shell, text=True, check=True)
    compile(python, "snippet", "exec")
    for text in (shell, python):
        assert "http://hub/api/v1/libraries/quill/pass" in text
        assert "FLETCH_TOKEN" in text


def test_every_way_to_fetch_puts_a_release_into_the_folder_that_is_loaded() -> None:
    hub, name, oid = "http://hub", "ada/poetry", "0a" * 20
    ways = [
        snippets.fetch_with_hf(hub, name, oid, needs_token=True),
        snippets.fetch_by_command(hub, name, oid),
        snippets.fetch_files(hub, name, oid=oid, paths=["a b.json"], needs_token=True),
        snippets.serve_with_vllm(CAUSAL, name, oid, rank=12),
    ]

    for text in ways:
        subprocess.run(["bash", "-n"], input=text, text=True, check=True)
    assert all("poetry-0a0a0a0a0a0a" in text for text in ways)
    assert "--max-lora-rank 16" in ways[-1]


def test_where_none_is_needed_nothing_is_said_of_it() -> None:
    open_ = snippets.Served("http://models", "quill")

    for text in (snippets.ask_served_model(open_, "quill"), snippets.openai_client(open_, "quill")):
        assert "pass" not in text.lower()
