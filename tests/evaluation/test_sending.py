"""A suite's table goes to the hub's version that was measured, and to no other."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from pytest_django.live_server_helper import LiveServer

from evaluation import __main__ as command
from evaluation.catalogue import find_suite
from evaluation.sending import BadDestination
from fletch.exits import CommandError
from hub.accounts import services as accounts
from hub.evaluations.models import Evaluation
from hub.indexes import services as indexes
from hub.jobs import services as jobs
from hub.jobs.models import JobKind
from routing.base import load_base
from routing.notebook import publish, read_experts
from routing.spec import BaseRef
from routing.store import open_store
from tests.hub import making
from tests.hub.conftest import room

__all__ = ["room"]
BASE, EXPERT = "demo/quill-2m", "jonas/capitals"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store whose library `tiny` has two versions; tests only read it."""
    base, folder = load_base(BaseRef(BASE)), tmp_path_factory.mktemp("store") / "kept"
    for names in ([EXPERT], [EXPERT, "mara/plural"]):
        folders = {name: Path("demo/adapters", name.replace("/", "--")) for name in names}
        publish(open_store(str(folder)), "tiny", base, read_experts(folders, base))
    return folder


@pytest.fixture
def maintained(transactional_db: None, store: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A hub whose library `tiny` has the store's version 1; the environment has its maintainer's token."""
    cleo = making.user("cleo")
    place = making.library(maintainer=cleo)
    making.ready(making.user(), place)
    claim = making.take(JobKind.INDEX)
    version = making.planned(claim, place)
    manifest = open_store(str(store)).version_digest("tiny", 1)
    indexes.record_published(claim, version.pk, manifest, 30)
    jobs.finish(claim)
    monkeypatch.setenv("FLETCH_TOKEN", accounts.issue_token(user=cleo, name="x", scopes=["admin"])[1])
    return manifest


def ask(monkeypatch: pytest.MonkeyPatch, model_args: str, *arguments: str, out: Path) -> None:
    asked = ["evaluation", "demo", model_args, "--limit", "1", "--no-singles", "--routers", "uniform"]
    monkeypatch.setattr(sys, "argv", [*asked, "--out", str(out), *arguments])
    command.main()


def test_a_table_is_sent_to_the_version_that_was_measured(
    maintained: str,
    store: Path,
    live_server: LiveServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    there = ("--send-to", live_server.url, "--library", "tiny", "--version", "1")

    asking = (*there, "--questions", "1")
    ask(monkeypatch, f"store={store},library=tiny,version=1", *asking, out=tmp_path / "demo.json")

    kept = Evaluation.objects.get()
    assert (str(kept), kept.limit, kept.by and kept.by.username) == ("demo of tiny@1", 1, "cleo")
    assert [row["kind"] for row in kept.rows] == ["base", "policy", "router"]
    assert kept.model_args == "store=kept,library=tiny,version=1,dtype=float32"
    assert len(kept.members) == 13
    assert maintained in (tmp_path / "demo.json").read_text()
    asked = kept.questions.get(member="demo_capitals")
    assert (kept.questions.count(), kept.terms) == (13, find_suite("demo").may_be_shown)
    by_way = {answer["variant"]: answer for answer in asked.questions[0]["answers"]}
    assert list(by_way) == ["base", "library's policy", "uniform"]
    assert (by_way["base"]["right"], by_way["base"]["shares"]) == (False, {})
    policy = by_way["library's policy"]
    assert (policy["right"], policy["text"]) == (True, asked.questions[0]["expected"])
    assert policy["shares"] == {EXPERT: 1.0}
    assert set(policy["by_layer"][EXPERT]) == {1.0}
    assert len(policy["by_layer"][EXPERT]) == len(asked.layers) == 5
    assert "will show to everybody" in capsys.readouterr().out


@pytest.mark.usefixtures("maintained")
@pytest.mark.parametrize(
    ("model_args", "said"),
    [
        ("store={},library=tiny,version=2", "manifest: found .*, expected .*, that of version 1 of tiny"),
        ("store={},library=tiny", "expected version=NUMBER"),
        ("store={},library=tiny,version=1,router=arrow", "found router"),
        (f"pretrained={BASE},adapters=demo/adapters", "which says no version"),
    ],
)
def test_what_is_not_that_version_is_refused_before_anything_is_asked(
    store: Path,
    live_server: LiveServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    model_args: str,
    said: str,
) -> None:
    there = ("--send-to", live_server.url, "--library", "tiny", "--version", "1")

    with pytest.raises(BadDestination, match=said):
        ask(monkeypatch, model_args.format(store), *there, out=tmp_path / "demo.json")

    assert not (tmp_path / "demo.json").exists()


def test_half_a_destination_and_a_hub_that_is_not_there_are_refused(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model_args = f"store={store},library=tiny,version=1"

    with pytest.raises(BadDestination, match="together"):
        ask(monkeypatch, model_args, "--library", "tiny", out=tmp_path / "x.json")
    there = ("--send-to", "nowhere", "--library", "tiny", "--version", "1")
    with pytest.raises(CommandError, match="expected an address"):
        ask(monkeypatch, model_args, *there, out=tmp_path / "x.json")
