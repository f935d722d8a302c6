"""A worker reads cards by a real encoder: what was read is found by other words, and what changed is read again."""

import io
from datetime import timedelta
from pathlib import Path

import pytest
from django.contrib.auth.models import AnonymousUser
from django.core.management import CommandError, call_command
from django.http import QueryDict
from pytest_django import Settings

from hub.accounts.models import User
from hub.adapters import commits, history, repositories
from hub.adapters.commits import Put
from hub.adapters.models import Adapter
from hub.blobs import services as blobs
from hub.jobs.models import Job
from hub.search import meanings
from hub.search.asking import asked
from hub.search.finding import Found
from hub.search.models import Meaning, QueryTable
from tests.tiny import meaning_encoder
from tests.workers import uploading
from tests.workers.live import LiveHub

GROUPS = (
    ("letter", "correspondence", "mail"),
    ("polite", "formal", "courteous"),
    ("poem", "sonnet", "verse"),
    ("sum", "addition", "arithmetic"),
    ("write", "draft"),
)
CARDS = {
    "office": "---\ntags: [formal]\n---\n# Office\n\nDraft correspondence.",
    "bard": "Draft sonnet verse.",
    "abacus": "Addition and arithmetic.",
}


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meanings, "READ_AFTER", timedelta())


@pytest.fixture
def encoder(settings: Settings) -> Path:
    folder = meaning_encoder(*GROUPS)
    settings.SEARCH_ENCODER = str(folder)
    return folder


@pytest.fixture
def shelf(hub: LiveHub, encoder: Path) -> dict[str, Adapter]:
    ada = uploading.user()
    return {name: carded(ada, name, card) for name, card in CARDS.items()}


def carded(owner: User, name: str, card: str) -> Adapter:
    adapter = repositories.create(owner=owner, name=name)
    say(adapter, card)
    return adapter


def say(adapter: Adapter, card: str) -> None:
    """Commit another card to main."""
    with blobs.scratch_file() as path:
        path.write_text(card)
        readme = Put("README.md", blobs.store_file(path))
    commits.commit(adapter=adapter, by=adapter.owner, branch=history.MAIN, changes=[readme], message="")


def read(*options: str) -> str:
    """What the operator's command says, and the job done."""
    told = command(*options)
    uploading.work_off_jobs()
    return told


def command(*options: str) -> str:
    out = io.StringIO()
    call_command("read_cards", *options, stdout=out)
    return out.getvalue()


def vector(name: str) -> bytes:
    return bytes(Meaning.objects.get(adapter__name=name).vector)


def first(text: str) -> tuple[str, str]:
    found = Found(AnonymousUser(), asked(QueryDict(f"q={text}&by=meaning")))
    return found.adapters[0].name, found.note


def test_cards_are_read_and_found_by_other_words(shelf: dict[str, Adapter]) -> None:
    assert "not loaded by any worker yet" in command("--dry-run")
    assert not Meaning.objects.exclude(vector=b"").exists()

    assert "0 cards are read as they are, 3 are not" in read()

    assert first("write polite letter") == ("office", "")
    assert first("poem") == ("bard", "")
    assert first("sum") == ("abacus", "")
    [job] = Job.objects.all()
    assert (job.state, job.progress_done, job.progress_total) == ("done", 0, 3)
    assert "read the cards of 3 adapters" in job.log


def test_only_what_changed_is_read_again_unless_all_is_asked_for(shelf: dict[str, Adapter]) -> None:
    read()
    before = {name: vector(name) for name in CARDS}
    say(shelf["bard"], "Addition.")
    assert [adapter.name for adapter in meanings.due(meanings.current())] == ["bard"]

    read()

    assert [name for name in CARDS if vector(name) != before[name]] == ["bard"]
    assert "read the cards of 1 adapters" in Job.objects.all()[0].log
    read()
    assert "every card is read as it is" in Job.objects.all()[0].log
    read("--all")
    assert "read the cards of 3 adapters" in Job.objects.all()[0].log


def test_another_encoder_reads_everything_anew_and_the_old_one_is_forgotten(
    shelf: dict[str, Adapter], settings: Settings
) -> None:
    read()
    settings.SEARCH_ENCODER = str(meaning_encoder(*GROUPS, seed=1))
    assert "still being prepared" in first("office")[1]

    read()

    assert QueryTable.objects.get().source == settings.SEARCH_ENCODER
    assert first("poem") == ("bard", "")


def test_an_encoder_that_cannot_be_loaded_is_said_with_its_place(
    shelf: dict[str, Adapter], settings: Settings, tmp_path: Path
) -> None:
    settings.SEARCH_ENCODER = str(tmp_path)

    read()

    [job] = Job.objects.all()
    assert job.state == "failed"
    assert f"FLETCH_SEARCH_ENCODER: {tmp_path}: expected a sentence encoder" in job.error
    assert "among its failed jobs" in first("office")[1]


def test_without_an_encoder_there_is_nothing_to_read(hub: LiveHub) -> None:
    with pytest.raises(CommandError, match="FLETCH_SEARCH_ENCODER is not set"):
        read()
    meanings.ask()

    uploading.work_off_jobs()

    assert "names no encoder" in Job.objects.get().log
