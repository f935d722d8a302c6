"""What maintainers say that they measured of a version, and what readers see of it."""

from copy import deepcopy
from typing import Any

import pytest
from django.test import Client

from hub.accounts.models import User
from hub.errors import Conflict
from hub.evaluations import services
from hub.evaluations.models import Evaluation
from hub.indexes.models import IndexVersion
from hub.library.models import Library
from tests.hub import making
from tests.hub.conftest import api_of

pytestmark = pytest.mark.django_db
SENT = "/libraries/tiny/versions/1/evaluations"
OF_LIBRARY = "/libraries/tiny/evaluations"
MEMBER = {"metric": "acc", "questions": 40, "held_out": False}


def row(variant: str, kind: str, value: float, **said: Any) -> dict[str, Any]:
    gain = {"above_base": value - 0.25, "low": value - 0.5, "high": value}
    return {"variant": variant, "kind": kind, "members": {"arc": value}, "mean": value, **gain, **said}


def document(suite: str = "demo", manifest: str = f"{1:064x}", policy: float = 0.75) -> dict[str, Any]:
    """As `python -m evaluation` writes it."""
    return {
        "suite": suite,
        "held_in": ["arc"],
        "held_out": [],
        "about": {"manifest": manifest, "harness": "lm-eval 0.4", "model_args": "store=x", "limit": None},
        "members": {"arc": MEMBER},
        "rows": [
            row("base", "base", 0.25),
            row("library's policy", "policy", policy),
            row("arrow", "router", 0.5),
            row("ada/poetry", "expert", 0.25),
            row("ada/verse", "expert", 0.375),
        ],
        "routing": {"base": None},
        "outcomes": {"base": {"arc": {"0": 1.0}}},
    }


@pytest.fixture
def cleo() -> User:
    return making.user("cleo")


@pytest.fixture
def place(cleo: User) -> Library:
    return making.library(maintainer=cleo)


@pytest.fixture(autouse=True)
def version(place: Library, ada: User) -> IndexVersion:
    making.ready(ada, place)
    return making.publish(place)


def test_a_maintainer_sends_what_the_command_wrote_and_anybody_reads_it(cleo: User) -> None:
    answer = api_of(cleo).post(SENT, document())

    assert answer.status_code == 201
    one = api_of(None).get(f"/evaluations/{answer.json()['id']}").json()
    assert (one["library"], one["version"], one["suite"], one["by"]) == ("tiny", 1, "demo", "cleo")
    assert one["rows"] == document()["rows"][:4]  # ada/verse is nobody's adapter here
    assert one["members"] == {"arc": MEMBER}
    assert (one["manifest"], one["harness"], one["model_args"]) == (f"{1:064x}", "lm-eval 0.4", "store=x")
    assert one["policy"]["mean"] == 0.75
    assert one["base"]["mean"] == 0.25


def test_a_list_has_the_newest_first_and_a_board_the_newest_of_each_version_and_suite(
    cleo: User, ada: User, place: Library
) -> None:
    for suite, policy in (("demo", 0.5), ("demo", 0.625), ("bbh", 0.75)):
        assert api_of(cleo).post(SENT, document(suite, policy=policy)).status_code == 201
    making.ready(ada, place, "more", {**making.PLAIN, "x.md": b"x"})
    making.publish(place)
    api_of(cleo).post("/libraries/tiny/versions/2/evaluations", document(manifest=f"{2:064x}", policy=1.0))

    listed = [one["policy"]["mean"] for one in api_of(None).get(SENT).json()]
    board = api_of(None).get(OF_LIBRARY).json()
    second = api_of(None).get(f"{OF_LIBRARY}?limit=1&offset=1").json()

    assert listed == [0.75, 0.625, 0.5]
    said = [(one["version"], one["suite"], one["policy"]["mean"]) for one in board["items"]]
    assert said == [(2, "demo", 1.0), (1, "bbh", 0.75), (1, "demo", 0.625)]
    assert (second["count"], second["items"]) == (3, board["items"][1:2])


def test_only_a_maintainer_with_an_admin_token_sends_or_withdraws(ada: User, cleo: User) -> None:
    made = api_of(cleo).post(SENT, document()).json()

    for api, status in ((api_of(None), 401), (api_of(cleo, "read", "write"), 403), (api_of(ada), 403)):
        assert api.post(SENT, document()).status_code == status
        path = f"/api/v1/evaluations/{made['id']}"
        assert api.client.delete(path, headers=api.headers).status_code == status
    assert Evaluation.objects.get().withdrawn_at is None


def test_what_is_withdrawn_is_kept_and_shown_to_nobody(cleo: User, client: Client) -> None:
    made = api_of(cleo).post(SENT, document()).json()
    api = api_of(cleo)

    gone = api.client.delete(f"/api/v1/evaluations/{made['id']}", headers=api.headers)

    assert gone.status_code == 204
    assert Evaluation.objects.get().withdrawn_at is not None
    assert api.get(f"/evaluations/{made['id']}").status_code == 404
    assert api.get(SENT).json() == []
    assert api.get(OF_LIBRARY).json() == {"items": [], "count": 0}
    assert "every score" not in client.get("/libraries/tiny/versions").content.decode()


def test_figures_of_another_version_are_refused(cleo: User) -> None:
    answer = api_of(cleo).post(SENT, document(manifest="f" * 64))

    assert answer.status_code == 409
    assert f"found {'f' * 64}, expected {1:064x}" in answer.json()["detail"]
    assert not Evaluation.objects.exists()


@pytest.mark.parametrize(
    ("place_in_it", "value", "said"),
    [
        (("rows", 1, "mean"), "NaN", "rows.1.mean"),
        (("rows", 1, "mean"), 1e300, "rows.1.mean"),
        (("rows", 1, "low"), 0.9, "found low 0.9 above high 0.75"),
        (("rows", 1, "members"), {"other": 1.0}, "expected exactly the names in members"),
        (("rows", 1, "kind"), "base", "2 rows of the base"),
        (("rows", 3, "variant"), "ada/verse", "found 'ada/verse' more than once"),
        (("rows",), [], "rows"),
        (("members", "arc", "questions"), 0, "questions"),
        (("suite",), "x" * 201, "suite"),
        (("about", "manifest"), "short", "manifest"),
        (("about", "model_args"), "a\0b", "model_args"),
    ],
)
def test_a_table_that_is_none_is_refused_by_its_field(
    cleo: User, place_in_it: tuple[str | int, ...], value: object, said: str
) -> None:
    sent = deepcopy(document())
    inner: Any = sent
    for step in place_in_it[:-1]:
        inner = inner[step]
    inner[place_in_it[-1]] = value

    answer = api_of(cleo).post(SENT, sent)

    assert answer.status_code == 400
    assert said in answer.json()["detail"]


def test_more_scores_than_are_kept_are_refused_with_the_way_out(cleo: User) -> None:
    members = {f"m{place}": MEMBER for place in range(300)}
    scores = dict.fromkeys(members, 0.5)
    rows = [row("base", "base", 0.25, members=scores)]
    rows += [row(f"ada/a{place}", "expert", 0.5, members=scores) for place in range(200)]

    answer = api_of(cleo).post(SENT, {**document(), "members": members, "rows": rows})

    assert answer.status_code == 400
    assert "--no-singles" in answer.json()["detail"]


def test_a_version_keeps_so_many_and_withdrawing_makes_room(
    cleo: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "MOST_OF_A_VERSION", 1)
    api = api_of(cleo)
    first = api.post(SENT, document()).json()

    assert api.post(SENT, document()).status_code == 409
    api.client.delete(f"/api/v1/evaluations/{first['id']}", headers=api.headers)
    assert api.post(SENT, document()).status_code == 201


def test_an_evaluation_is_never_changed(cleo: User) -> None:
    api_of(cleo).post(SENT, document())
    found = Evaluation.objects.get()
    found.suite = "another"

    with pytest.raises(Conflict, match="withdraw it"):
        found.save()


def test_the_page_of_versions_has_the_table_and_who_said_so(
    cleo: User, ada: User, place: Library, client: Client
) -> None:
    making.upload(ada, place, "verse")
    api_of(cleo).post(SENT, document())

    page = client.get("/libraries/tiny/versions").content.decode()

    for said in ("The library\u2019s policy", "Router arrow", "0.750", "+0.500", "[+0.250, +0.750]", "cleo"):
        assert said in page
    assert "ada/verse <span" in page  # the best of the single experts, and no other of them
    assert page.count("the best alone") == 1


def test_only_maintainers_are_told_how_to_send_one(cleo: User, client: Client) -> None:
    assert "--send-to" not in client.get("/libraries/tiny/versions").content.decode()
    client.force_login(cleo)
    page = client.get("/libraries/tiny/versions").content.decode()
    assert "library=tiny,version=1 --send-to http://testserver --library tiny --version 1" in page
