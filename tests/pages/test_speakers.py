"""Who speaks where: a text is read by the serving process, and the page says at each layer who had how much of it."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client

from hub.adapters.models import Adapter
from hub.library.models import Library
from tests.hub import making
from tests.pages import content
from tests.pages.conftest import seen_by
from tests.pages.scripted import Scripted, scripted

PAGE = "/libraries/demo/speakers"
CHESS, OTHER = "ada/chess-openings", "bob/poetry"
# two tokens; at layer 0 two modules of which the second is left to the base for one token, at layer 1 one
TRACE = {
    "experts": [CHESS, OTHER],
    "tokens": ["Once", " upon"],
    "modules": {
        "model.layers.0.self_attn.q_proj": {
            "experts": [[0, 1], [0, 1]],
            "weights": [[0.75, 0.25], [0.25, 0.75]],
        },
        "model.layers.0.mlp.down_proj": {"experts": [[0, 1], [0, 1]], "weights": [[1.0, 0.0], [0.0, 0.0]]},
        "model.layers.1.self_attn.q_proj": {"experts": [[1, 0], [1, 0]], "weights": [[1.0, 0.0], [1.0, 0.0]]},
    },
}


@pytest.fixture
def place(db: None) -> Library:
    """One that serves version 1."""
    place, ada = content.found_library(), making.user("ada")
    content.ready(ada, place, "chess-openings", layers=1)
    making.publish(place)
    return place


@pytest.fixture
def script(settings: Any) -> Iterator[Scripted]:
    cache.clear()
    with scripted() as script:
        settings.SERVING_INTERNAL_URL = script.url
        yield script


def listens(script: Scripted) -> None:
    script.chunks = [
        {"choices": []},
        {"choices": [], "fletch": {"library": "demo", "version": 1, "trace": TRACE}},
    ]


def rows(response: Any) -> dict[str, list[str]]:
    """By what stands at its head: the mean, then layer after layer."""
    page = response.content.decode()
    table = page[page.index("<tbody>") : page.index("</tbody>")]
    found = {}
    for row in table.split("<tr>")[1:]:
        words = re.sub(r"<[^>]+>", " ", row).split()
        cells = re.findall(r"<td[^>]*>([^<]+)</td>", row)
        found[" ".join(words[: len(words) - len(cells)])] = cells
    return found


def test_each_layer_says_whom_it_chose_and_what_is_missing_is_the_base_s(
    place: Library,
    script: Scripted,
) -> None:
    listens(script)

    answer = seen_by(place.adapters.get().owner).post(
        PAGE, {"text": "story", "router": "arrow", "top_k": "2"}
    )

    # layer 0: chess has (0.75 + 0.25 + 1 + 0) / 4, the other (0.25 + 0.75) / 4
    assert rows(answer) == {
        "an expert that is private now": ["62.5", "25", "100"],
        CHESS: ["25.0", "50", "0"],
        "the plain base": ["12.5", "25", "0"],
    }
    ((path, body, _),) = script.asked
    assert path == "/v1/completions"
    assert body["routing"] == {"router": "arrow", "shortlist": 0, "top_k": 2, "trace": True}
    assert body["prompt"].startswith("The lighthouse keeper")


def test_the_same_question_is_asked_once_and_another_text_anew(place: Library, script: Scripted) -> None:
    listens(script)
    client = seen_by(place.adapters.get().owner)

    client.post(PAGE, {"text": "story"})
    client.post(PAGE, {"text": "story"})
    client.post(PAGE, {"text": "own", "own": "e4 e5"})

    assert [body["prompt"][:5] for _, body, _ in script.asked] == ["The l", "e4 e5"]
    assert script.asked[0][1]["routing"] == {"trace": True}


def test_an_expert_that_became_private_keeps_its_name(place: Library, script: Scripted) -> None:
    listens(script)
    owner = place.adapters.get().owner
    Adapter.objects.update(private=True)

    theirs, mine = seen_by(None), seen_by(owner)

    assert CHESS in rows(mine.post(PAGE, {"text": "story"}))
    assert CHESS not in theirs.post(PAGE, {"text": "story"}).content.decode()


def test_who_may_not_ask_is_told_to_sign_in_and_no_own_text_is_no_text(
    place: Library, script: Scripted, settings: Any
) -> None:
    settings.PLAYGROUND = "people"
    owner = place.adapters.get().owner

    assert Client().post(PAGE, {"text": "story"}).status_code == 401
    assert "Sign in to have it read" in Client().get(PAGE).content.decode()
    empty = seen_by(owner).post(PAGE, {"text": "own", "own": " "}).content.decode()
    assert "Write what is to be read." in empty
    assert script.asked == []


def test_where_nobody_serves_the_page_says_so(place: Library, settings: Any) -> None:
    cache.clear()
    settings.SERVING_INTERNAL_URL = "http://127.0.0.1:9"  # the port that discards
    answer = seen_by(place.adapters.get().owner).post(PAGE, {"text": "story"})

    assert answer.status_code == 503
    assert "No serving process answers at" in answer.content.decode()


def test_a_serving_process_that_says_nothing_of_experts_is_told_of(place: Library, script: Scripted) -> None:
    answer = seen_by(place.adapters.get().owner).post(PAGE, {"text": "code"})

    assert "did not say who spoke" in answer.content.decode()


@pytest.mark.django_db
def test_a_library_without_a_version_has_nobody_to_listen_to() -> None:
    Library.objects.create(slug="bare", name="Bare", base_source="/srv/b")

    assert "Nobody to listen to yet" in Client().get("/libraries/bare/speakers").content.decode()
