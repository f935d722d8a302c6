"""Questions of an evaluation, one by one: read, narrowed, asked again, deleted; nothing leaks by a name."""

import re
from urllib.parse import parse_qs, urlsplit

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from hub.adapters.models import Adapter
from hub.evaluations.models import Evaluation, MemberQuestions
from tests.pages.asked import PROMPTS, TERMS
from tests.pages.conftest import seen_by
from tests.pages.content import Content
from tests.pages.learnt import add_what_is_learnt
from tests.pages.test_what_pages_say import text

MOST_QUERIES = 12


@pytest.fixture
def learnt(made: Content) -> Content:
    add_what_is_learnt(made)
    return made


@pytest.fixture
def newest(learnt: Content) -> str:
    return f"/libraries/demo/evaluations/{Evaluation.objects.filter(suite='bbh').latest('pk').pk}"


def questions(page: str) -> list[str]:
    return re.findall(r'<article class="panel question".*?</article>', page, re.DOTALL)


def test_a_figure_of_the_table_leads_to_questions_and_all_answers(newest: str) -> None:
    table = Client().get(newest).content.decode()
    [link] = re.findall(r'<a href="([^"]+way=arrow)"', table)

    page = Client().get(link.replace("&amp;", "&"))
    first, second, hostile = questions(page.content.decode())[:3]

    assert page["X-Robots-Tag"] == "noindex"
    assert "chosen because ways differ" in first
    assert all(word in first for word in (" right<", " wrong<", "0.62", "Tessin", "61 %", "others"))
    assert '<li class="asked">' in first
    assert "<details" in second.partition("Expected")[0]  # a long prompt is folded
    assert "<script" not in hostile.lower().replace("&lt;script", "")
    assert TERMS in page.content.decode()
    assert "12 questions with all answers" in text(Client(), f"{newest}?member=all")


def test_they_are_narrowed_by_links_that_keep_who_is_meant(newest: str) -> None:
    base = f"{newest}/questions?member=all"
    counts = {
        query: re.findall(
            r'<span class="muted small">(\d+)</span>', Client().get(base + query).content.decode()
        )
        for query in ("", "&way=base&only=wrong", "&way=retrieval&only=wrong", "&way=nobody&only=nonsense")
    }

    assert counts[""] == ["12", "12", "6"]
    assert counts["&way=base&only=wrong"] == ["12", "12", "12"]
    assert counts["&way=retrieval&only=wrong"] == ["12", "12", "0"]
    assert counts["&way=nobody&only=nonsense"] == counts[""]
    assert "Router retrieval was right at all 12" in text(Client(), f"{base}&way=retrieval&only=wrong")
    second = Client().get(f"{base}&way=base&only=wrong&page=2").content.decode()
    assert len(questions(second)) == len(PROMPTS) - 10
    assert "?page=1&amp;member=all&amp;only=wrong&amp;way=base" in second


def test_the_playground_opens_with_the_same_prompt_and_way(newest: str) -> None:
    page = Client().get(f"{newest}/questions?member=all&way=arrow").content.decode()
    [link] = re.findall(r'href="(/libraries/demo/play\?[^"]+)"', questions(page)[0])
    asked = parse_qs(urlsplit(link.replace("&amp;", "&")).query)

    assert (asked["prompt"], asked["a-router"]) == ([PROMPTS[0][0]], ["arrow"])
    opened = Client().get(link.replace("&amp;", "&")).content.decode()
    assert "Name the capital of Norvia" in opened
    assert '<option value="arrow" selected>' in opened


def test_a_private_expert_is_not_named_to_strangers(newest: str, learnt: Content) -> None:
    Adapter.objects.filter(pk=learnt.ready.adapter_id).update(private=True)
    path, name = f"{newest}/questions?member=all", learnt.ready.adapter.full_name

    stranger = Client().get(path).content.decode()

    assert name not in stranger
    assert "experts that are private, or gone" in stranger
    assert name in seen_by(learnt.contributor).get(path).content.decode()


def test_the_maintainer_deletes_them_on_the_page_for_good(newest: str, learnt: Content) -> None:
    path = f"{newest}/questions?member=all"

    assert "Delete them for good" not in Client().get(path).content.decode()
    assert "Delete them for good" in seen_by(learnt.maintainer).get(path).content.decode()
    assert seen_by(learnt.newcomer).post(f"{newest}/questions/delete").status_code == 403
    done = seen_by(learnt.maintainer).post(f"{newest}/questions/delete", follow=True).content.decode()

    assert "deleted for good" in done
    assert "they are not kept any more" in done
    assert not MemberQuestions.objects.exists()
    assert Client().get(path).status_code == 404
    assert Client().get(f"{newest}/questions?member=none").status_code == 404


def test_however_many_are_shown_the_database_is_asked_as_often(newest: str) -> None:
    Client().get(f"{newest}/questions?member=all")  # what is remembered between requests
    found = []
    for query in ("", "&page=2"):
        with CaptureQueriesContext(connection) as queries:
            Client().get(f"{newest}/questions?member=all{query}")
        found.append(len(queries))

    assert found[0] == found[1] <= MOST_QUERIES
