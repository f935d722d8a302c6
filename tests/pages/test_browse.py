"""The page of all adapters: what it lists, how one narrows it, and what it says when there is nothing."""

import gzip
import html
import re
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from django.conf import settings
from pytest_django import Settings

from hub.accounts.models import User
from hub.adapters.models import Adapter
from hub.search import by_meaning
from tests.hub import making, meant
from tests.pages import content
from tests.pages.conftest import seen_by
from tests.pages.content import HOSTILE, Content

STATIC = Path(settings.PACKAGE) / "static" / "fletch"


def look(query: str = "", user: User | None = None) -> str:
    answer = seen_by(user).get(f"/adapters?{query}")
    assert answer.status_code == 200
    return answer.content.decode()


def listed(page: str) -> list[str]:
    return re.findall(r'<li class="hit">.*?<a href="/([^"]+)"', page, re.DOTALL)


def links(page: str, text: str) -> list[dict[str, list[str]]]:
    """What the links with this text ask for."""
    found = re.findall(r'<a [^>]*?href="\?([^"]*)"[^>]*>(.*?)</a>', page, re.DOTALL)
    return [
        parse_qs(html.unescape(query))
        for query, inside in found
        if text in html.unescape(re.sub(r"<[^>]+>", "", inside))
    ]


def test_everybody_sees_the_adapters_that_they_may_know_of(made: Content) -> None:
    public, own = listed(look("sort=name")), listed(look("sort=name", made.contributor))

    assert set(own) - set(public) == {made.private.adapter.full_name}
    assert len(public) == Adapter.objects.filter(private=False).count() > 10
    assert f"{len(public)} adapters" in look()
    assert "Quarantined" in look("q=borrowed")
    assert "Private" in look("q=secret", made.contributor)


def test_a_gated_adapter_has_a_mark(made: Content) -> None:
    assert "Gated" not in look("q=haiku")
    Adapter.objects.filter(name="haiku").update(gating="manual")
    assert "Gated" in look("q=haiku")


def test_a_library_is_called_by_its_name(made: Content) -> None:
    words = re.sub(r"<[^>]+>", " ", look("library=demo"))

    assert "Library Demo tasks : remove" in " ".join(words.split())


def test_a_facet_is_chosen_and_left_by_links_that_keep_the_rest(made: Content) -> None:
    page = look("q=p&sort=name")
    [chosen] = links(page, "Quarantined")
    assert chosen == {"q": ["p"], "status": ["quarantined"], "sort": ["name"]}

    page = look("q=p&sort=name&status=quarantined&owner=bob")

    assert listed(page) == ["bob/borrowed-weights", "bob/knows-everything"]
    assert {"q": ["p"], "owner": ["bob"], "sort": ["name"]} in links(page, "Quarantined")
    assert links(page, "Remove all") == [{"q": ["p"], "sort": ["name"]}]
    assert '<input type="hidden" name="status" value="quarantined">' in page


def test_tags_narrow_one_after_another_and_say_how_many_each_leaves(made: Content) -> None:
    page = look("status=ready")
    [chosen] = links(page, "poetry8 adapters")  # the ninth has no card's front matter
    narrowed = look("status=ready&tag=poetry&tag=none-has-it")

    assert chosen == {"status": ["ready"], "tag": ["poetry"]}
    assert links(look("status=ready&tag=poetry"), "poetry: chosen, remove8") == [{"status": ["ready"]}]
    assert links(narrowed, "none-has-it: chosen, remove0")[0]["tag"] == ["poetry"]


def test_pages_follow_each_other_after_filtering(made: Content, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub.pages.browsing.A_PAGE", 4)
    seen, query = [], "status=ready&sort=name"
    while query:
        page = look(query)
        seen += listed(page)
        onward = re.search(r'rel="next" href="\?([^"]+)"', page)
        query = html.unescape(onward[1]) if onward else ""

    assert len(seen) == len(set(seen)) == 9
    assert seen == sorted(seen, key=lambda name: name.partition("/")[2])
    assert listed(look("page=99&sort=name&status=ready")) == seen[8:]
    assert listed(look("page=nonsense&sort=name&status=ready")) == seen[:4]


def test_nothing_found_says_what_to_leave_out(made: Content) -> None:
    page = look("q=haiku&owner=bob")

    assert "No adapter is all of this" in page
    [without_owner] = links(page, "Without the choice in Owner: 1")
    assert without_owner == {"q": ["haiku"]}
    bobs = len(listed(look("owner=bob")))
    assert links(page, f"Without the words: {bobs}") == [{"owner": ["bob"]}]
    assert listed(look("q=haiku")) == ["ada/haiku"]
    several = look("q=haiku&owner=bob&status=rejected&tag=none")
    assert links(several, "Without any filter: 1") == [{"q": ["haiku"]}]
    assert links(look("q=zebra"), f"Without the words: {len(listed(look()))}") == [{}]
    assert "See all adapters" in look("q=zebra&owner=nobody")


def test_the_switch_to_meaning_is_there_where_an_encoder_is_named(made: Content, settings: Settings) -> None:
    assert "By meaning" not in look("q=haiku")
    assert by_meaning.NOT_HERE in look("q=haiku&by=meaning")
    settings.SEARCH_ENCODER = meant.ENCODER
    assert 'id="by" name="by" value="meaning">' in look("q=haiku")

    page = look("q=haiku&by=meaning")

    assert 'value="meaning" checked' in page
    assert by_meaning.PREPARED in page
    assert listed(page) == ["ada/haiku"]


def test_by_meaning_everything_stays_and_the_nearest_comes_first(made: Content, settings: Settings) -> None:
    settings.SEARCH_ENCODER = meant.ENCODER
    everything = listed(look())
    meant.read(meant.table(), {"borrowed-weights": (0, 0, 1), "haiku": (0, 1, 0)})

    page = look("q=sums&by=meaning&sort=name")

    assert listed(page)[:2] == ["bob/borrowed-weights", "ada/haiku"]
    assert sorted(listed(page)) == sorted(everything)
    assert f"{len(everything)} adapters, the nearest first" in page
    assert f"{len(everything) - 2} adapters are not read for meaning yet" in page
    assert re.findall(r"<option [^>]*>([^<]+)", page) == ["Nearest in meaning"]
    [rejected] = links(page, "Rejected")
    assert rejected == {"q": ["sums"], "by": ["meaning"], "status": ["rejected"], "sort": ["name"]}
    assert "Without the words" not in look("q=sums&by=meaning&tag=none")


@pytest.mark.django_db
def test_an_empty_hub_says_so() -> None:
    page = look()

    assert "No adapter yet" in page
    assert "Filters appear when there is something to tell apart" in page


def test_a_stranger_s_words_are_text(made: Content) -> None:
    content.hostile(made.contributor, made.library)

    for page in (look(f"q={HOSTILE}&owner={HOSTILE}&tag={HOSTILE}"), look("q=hostile")):
        assert "<script>alert" not in page
        assert "<img" not in page
    assert html.escape(HOSTILE) in look(f"q={HOSTILE}")


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("query", "said"), [("sort=oldest", "best, new"), ("rank=8", "5-8"), ("kind=x", "dora")]
)
def test_what_no_facet_has_is_refused_with_the_choices(query: str, said: str) -> None:
    answer = seen_by(None).get(f"/adapters?{query}")

    assert answer.status_code == 400
    assert said in answer.content.decode()


@pytest.mark.django_db
def test_a_full_page_with_all_it_needs_is_small() -> None:
    ada, library = making.user("ada"), content.found_library()
    for number in range(31):
        making.upload(ada, library, f"adapter-{number}", content.files(number))
    page = look()
    assert len(listed(page)) == 30

    names = {urlsplit(path).path.rpartition("/")[2] for path in re.findall(r"/static/fletch/[\w.]+", page)}
    files = [STATIC / name for name in {*names, "live.js"}]
    weight = len(gzip.compress(page.encode())) + sum(len(gzip.compress(file.read_bytes())) for file in files)

    assert {"browse.css", "browse.js", "icons.svg"} <= names
    assert weight < 30_000


def test_the_library_page_and_the_masthead_lead_here(made: Content) -> None:
    client = seen_by(None)

    assert 'href="/adapters?library=demo"' in client.get("/libraries/demo").content.decode()
    home = client.get("/").content.decode()
    assert 'action="/adapters"' in home
    assert 'href="/adapters"' in home
