"""Social cards: pictures for other sites, of what everybody may know, drawn once."""

import io
import re
from typing import Any

import pytest
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from PIL import Image

from hub.adapters import repositories
from hub.adapters import services as adapters
from hub.errors import TooBusy
from hub.library.models import Library
from hub.pages.social import drawing, keeping, lettering, letters, saying
from hub.pages.social.faces import Course, Face, Figure
from tests.hub import making
from tests.pages import content
from tests.pages.conftest import seen_by
from tests.pages.content import Content
from tests.pages.learnt import add_what_is_learnt

MOST = 120_000  # bytes
MOST_QUESTIONS = 6
PICTURES = (
    "/cards/hub.png",
    "/cards/libraries/demo.png",
    "/cards/people/ada.png",
    "/cards/adapters/bob/poetry.png",
)
NOT_THERE = ("/cards/libraries/nothing.png", "/cards/people/nobody.png", "/cards/adapters/ada/nothing.png")
IMAGE = re.compile(r'<meta property="og:image" content="([^"]+)">')


@pytest.fixture(autouse=True)
def nothing_kept() -> None:
    cache.clear()


def image_of(path: str, client: Client) -> str | None:
    page = client.get(path).content.decode()
    match = IMAGE.search(page)
    assert ("summary_large_image" in page) == (match is not None)
    return match[1] if match else None


def page_of(answer: Any, name: str) -> str:
    """Without what differs each time, and the name that was asked for."""
    return re.sub(r'value="\w{64}"', "", answer.content.decode()).replace(name, "X")


def test_every_page_that_is_shared_names_a_picture_by_its_whole_address(made: Content) -> None:
    pages = {
        "/": "/cards/hub.png",
        f"/libraries/{made.library.slug}": "/cards/libraries/demo.png",
        f"/libraries/{made.library.slug}/map": "/cards/libraries/demo.png",
        f"/{made.ready.adapter.full_name}": f"/cards/adapters/{made.ready.adapter.full_name}.png",
        "/ada": "/cards/people/ada.png",
        "/rhymes": "/cards/people/rhymes.png",
    }

    for path, picture in pages.items():
        assert image_of(path, seen_by(None)) == f"http://testserver{picture}"
        answer = Client().get(picture)
        image = Image.open(io.BytesIO(answer.content))
        assert (answer["Content-Type"], image.format, image.size) == ("image/png", "PNG", (1200, 630))
        assert len(answer.content) < MOST
        assert "public" in answer["Cache-Control"]
        assert not answer.cookies
        assert "Cookie" not in answer.get("Vary", "")


def test_a_card_is_the_same_for_whoever_asks(made: Content) -> None:
    for picture in PICTURES:
        seen = {
            kind: seen_by(person).get(picture).content
            for kind, person in (("nobody", None), ("owner", made.contributor), ("staff", made.staff))
        }
        assert len(set(seen.values())) == 1, picture
    assert [Client().get(path).status_code for path in NOT_THERE] == [404] * len(NOT_THERE)
    assert [Client().post(path).status_code for path in PICTURES] == [405] * len(PICTURES)


def test_a_private_adapter_has_no_card_for_anybody(made: Content) -> None:
    private = made.private.adapter
    owner, nobody = seen_by(made.contributor), seen_by(None)
    picture = f"/cards/adapters/{private.full_name}.png"

    assert image_of(f"/{private.full_name}", owner) is None
    for client in (owner, nobody):
        refused, unknown = client.get(picture), client.get("/cards/adapters/ada/secret-sauze.png")
        assert (refused.status_code, unknown.status_code) == (404, 404)
        assert page_of(refused, "secret-sauce") == page_of(unknown, "secret-sauze")


def test_what_a_card_says_is_what_everybody_may_know(made: Content) -> None:
    before = (saying.hub(), saying.library(made.library), saying.person(made.contributor))

    making.upload(made.contributor, made.library, "another-secret", content.files("another"), private=True)

    assert (saying.hub(), saying.library(made.library), saying.person(made.contributor)) == before


def test_a_picture_that_is_known_is_not_sent_again(made: Content) -> None:
    path = f"/cards/adapters/{made.ready.adapter.full_name}.png"
    first = Client().get(path)

    again = Client().get(path, headers={"If-None-Match": first["ETag"]})
    repositories.like(adapter=made.ready.adapter, by=made.newcomer)
    other = Client().get(path, headers={"If-None-Match": first["ETag"]})

    assert (again.status_code, again.content, again["ETag"]) == (304, b"", first["ETag"])
    assert other.status_code == 200


def test_a_card_is_drawn_once_and_asks_little(made: Content, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Face] = []
    really = drawing.png

    def counted(face: Face) -> bytes:
        drawn.append(face)
        return really(face)

    monkeypatch.setattr(drawing, "png", counted)
    path = f"/cards/libraries/{made.library.slug}.png"

    first, second = Client().get(path), Client().get(path)

    assert first.content == second.content
    assert len(drawn) == 1
    for card in PICTURES:
        with CaptureQueriesContext(connection) as captured:
            assert Client().get(card).status_code == 200
        assert len(captured) <= MOST_QUESTIONS


def test_where_too_many_are_drawn_the_next_is_told_to_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "PATIENCE", 0.01)
    face = Face("Adapter", "ada/poetry")
    for _ in range(keeping.AT_ONCE):
        keeping._pens.acquire()

    try:
        with pytest.raises(TooBusy):
            keeping.picture(face)
    finally:
        for _ in range(keeping.AT_ONCE):
            keeping._pens.release()
    assert keeping.picture(face) == drawing.png(face)


def test_a_name_that_the_font_cannot_write_gives_way_to_the_one_in_addresses() -> None:
    for name, shown in (
        ("Стихи и проза", "Стихи и проза"),
        ("Übungsstücke", "Übungsstücke"),
        ("詩歌", "demo"),
        ("ספריית שירים", "demo"),
        ("", "demo"),
    ):
        assert saying.called(Library(slug="demo", name=name)) == shown


def test_figures_are_those_of_the_page(made: Content) -> None:
    add_what_is_learnt(made)
    made.library.refresh_from_db()
    poetry = saying.adapter(made.ready.adapter)
    library = saying.library(made.library)

    assert made.library.current is not None
    assert Figure("56k", "downloads") in poetry.figures
    assert library.figures[0] == Figure(str(made.library.current.expert_count), "experts")
    assert library.course is not None
    assert library.course.caption.endswith("by version")
    assert saying.adapter(made.quarantined.adapter).figures == ()
    assert "in quarantine" in saying.adapter(made.quarantined.adapter).under


def test_a_withdrawn_adapter_shows_no_figures(made: Content) -> None:
    adapters.yank(release=made.ready, by=made.contributor, reason="a mistake")

    assert saying.adapter(made.ready.adapter) == Face(
        "Adapter", made.ready.adapter.full_name, "LoRA for Demo tasks · withdrawn"
    )


@pytest.mark.parametrize("title", ["a" * 39 + "/" + "b" * 96, "W" * 400, "x", "a-" * 60])
def test_long_names_stay_on_the_card(title: str) -> None:
    figures = tuple(Figure(f"{number}k", "a long label") for number in range(9))

    picture = Image.open(
        io.BytesIO(drawing.png(Face("Adapter", title, title, figures, Course(title, (1, 2)))))
    )

    right = picture.convert("L").crop((drawing.WIDTH - 60, 0, drawing.WIDTH, drawing.HEIGHT - drawing.BAR))
    assert right.getextrema() == (255, 255)


def test_large_numbers_are_said_shortly() -> None:
    assert [saying.short(number) for number in (7, 999, 1_234, 56_789, 1_500_000, 12_000_000_000)] == [
        "7",
        "999",
        "1.2k",
        "56k",
        "1.5M",
        "12B",
    ]


def test_the_font_has_every_letter_that_we_say_it_has() -> None:
    for name in (lettering.REGULAR, lettering.BOLD):
        face = lettering.font(name, 16)
        missing = bytes(face.getmask("\uffff"))
        said = [chr(code) for least, most in letters.RANGES for code in range(least, most + 1)]
        drawn = [one for one in said if letters.is_there(one) and not one.isspace()]

        assert [one for one in drawn if bytes(face.getmask(one)) == missing] == []


def test_what_would_be_written_wrongly_is_not_written() -> None:
    assert letters.writable("  naïve\n & Ω Я ") == "naïve & Ω Я"
    assert letters.writable("模型") == letters.writable("a\u202eb") == letters.writable("e\u0338") == ""
