"""The leaderboard: what was measured, sorted as the reader wants it, down to each task; nothing leaks by a name."""

import re

import pytest
from django.test import Client

from hub.adapters.models import Adapter
from hub.evaluations.models import Evaluation
from hub.pages import leaderboard
from tests.pages.conftest import seen_by
from tests.pages.content import Content
from tests.pages.learnt import SUITES, add_what_is_learnt
from tests.pages.test_what_pages_say import text

BOARD = "/libraries/demo/evaluations"
MEANS = re.compile(r'data-label="Mean">(\d\.\d{3})<')


@pytest.fixture
def learnt(made: Content) -> Content:
    add_what_is_learnt(made)
    return made


def test_the_suite_that_was_sent_last_is_shown_with_the_best_first(learnt: Content) -> None:
    page = Client().get(BOARD).content.decode()
    means = [float(mean) for mean in MEANS.findall(page)]

    assert means == sorted(means, reverse=True)
    assert len(means) == 20  # five ways at four versions
    assert re.search(r"s policy \d (Served )?0\.710 \+0\.310 \[\+0\.290, \+0\.330\]", text(Client(), BOARD))


def test_a_heading_sorts_and_sorts_back(learnt: Content) -> None:
    rising = Client().get(BOARD, {"sort": "mean"}).content.decode()
    means = [float(mean) for mean in MEANS.findall(rising)]

    assert means == sorted(means)
    assert 'aria-sort="ascending"' in rising
    assert 'href="?suite=bbh&amp;sort=-mean"' in rising


def test_the_next_page_keeps_suite_and_order(learnt: Content, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaderboard, "A_PAGE", 6)

    page = Client().get(BOARD, {"suite": "bbh", "sort": "mean"}).content.decode()

    assert 'rel="next" href="?page=2&amp;suite=bbh&amp;sort=mean"' in page


def test_another_suite_is_another_board(learnt: Content) -> None:
    long, limit, _ = SUITES[0]

    page = text(Client(), f"{BOARD}?suite={long}&limit={limit}")

    assert "50 questions of each task · 1 version" in page
    assert Client().get(f"{BOARD}?suite={long}").status_code == 404


def test_one_evaluation_is_read_task_by_task(learnt: Content) -> None:
    newest = Evaluation.objects.filter(suite="bbh").latest("pk")

    whole = text(Client(), f"{BOARD}/{newest.pk}")
    member = text(Client(), f"{BOARD}/{newest.pk}?member=all")

    assert "all acc, 597 questions, held out 0.400 0.710" in whole
    assert "s policy 0.710 Router retrieval 0.600 Router arrow 0.520" in member
    assert Client().get(f"{BOARD}/{newest.pk}?member=none").status_code == 404
    assert Client().get(f"/libraries/other/evaluations/{newest.pk}").status_code == 404


def test_an_expert_that_became_private_is_named_to_its_owner_alone(learnt: Content) -> None:
    Adapter.objects.filter(pk=learnt.ready.adapter_id).update(private=True)
    newest = Evaluation.objects.filter(suite="bbh").latest("pk")
    paths = (BOARD, f"{BOARD}/{newest.pk}", f"{BOARD}/{newest.pk}?member=all")
    name = learnt.ready.adapter.full_name
    versions = "/libraries/demo/versions"
    alone = f'{name} <span class="muted small">the best alone'

    assert [name in Client().get(path).content.decode() for path in paths] == [False] * 3
    assert alone not in Client().get(versions).content.decode()
    assert alone in seen_by(learnt.contributor).get(versions).content.decode()
    assert [name in seen_by(learnt.contributor).get(path).content.decode() for path in paths] == [True] * 3


def test_where_nothing_was_measured_the_maintainer_reads_how(made: Content) -> None:
    assert "Nothing was measured yet" in text(Client(), BOARD)
    assert "--send-to" not in text(Client(), BOARD)
    assert "--send-to http://testserver --library demo --version 5" in text(seen_by(made.maintainer), BOARD)
