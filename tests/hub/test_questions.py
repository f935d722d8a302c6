"""Questions beside an evaluation: sent once, read by everybody but for private experts, deleted for good."""

from copy import deepcopy
from typing import Any

import pytest

from hub.accounts.models import User
from hub.adapters.models import Adapter
from hub.evaluations import question_schemas, services
from hub.evaluations.models import Evaluation, MemberQuestions
from hub.library.models import Library
from tests.hub import making
from tests.hub.conftest import api_of
from tests.hub.test_evaluations import SENT, document

pytestmark = pytest.mark.django_db
POLICY, ALONE = "library's policy", "ada/adapter"


def answer(variant: str, score: float, **said: Any) -> dict[str, Any]:
    return {"variant": variant, "score": score, "right": score == 1.0, "text": f"by {variant}", **said}


def question(place: int, policy: float) -> dict[str, Any]:
    spoke = {
        "shares": {ALONE: 0.75, "ada/gone": 0.25},
        "by_layer": {ALONE: [0.5, 1.0], "ada/gone": [0.5, 0.0]},
    }
    answers = [answer("base", 0.0), answer(POLICY, policy, **spoke), answer("arrow", 1.0)]
    return {
        "task": "arc",
        "question": str(place),
        "differs": place == 0,
        "metric": "acc",
        "prompt": f"Question {place}?\n",
        "expected": "yes",
        "answers": [*answers, answer(ALONE, 0.0, shares={ALONE: 1.0})],
    }


def asked(**said: Any) -> dict[str, Any]:
    """A table with the answers of one expert alone, and two questions."""
    table = document()
    table["rows"][3]["variant"] = ALONE
    questions = {
        "terms": "CC0-1.0",
        "layers": [0, 1],
        "members": {"arc": [question(0, 1.0), question(1, 0.0)]},
    }
    return {**table, "questions": questions, **said}


@pytest.fixture
def cleo() -> User:
    return making.user("cleo")


@pytest.fixture(autouse=True)
def place(cleo: User, ada: User) -> Library:
    place = making.library(maintainer=cleo)
    making.ready(ada, place, "adapter")
    making.publish(place)
    return place


def sent(cleo: User, **said: Any) -> dict[str, Any]:
    made = api_of(cleo).post(SENT, asked(**said))
    assert made.status_code == 201, made.json()
    return dict(made.json())


def test_everybody_reads_the_questions_and_narrows_them(cleo: User) -> None:
    made = sent(cleo)
    path = f"/evaluations/{made['id']}/questions?member=arc"

    found = api_of(None).get(path).json()
    places = {
        only: [one["question"] for one in api_of(None).get(f"{path}&only={only}").json()["items"]]
        for only in ("all", "differ", "wrong")
    }

    assert (made["terms"], made["questions"]) == ("CC0-1.0", {"arc": 2})
    assert (found["layers"], found["count"]) == ([0, 1], 2)
    assert found["items"][0]["prompt"] == "Question 0?\n"
    assert found["items"][0]["answers"][1]["by_layer"][ALONE] == [0.5, 1.0]
    assert places == {"all": ["0", "1"], "differ": ["0", "1"], "wrong": ["1"]}
    wrong = api_of(None).get(f"{path}&only=wrong&variant=base").json()["items"]
    assert [one["question"] for one in wrong] == ["0", "1"]
    assert api_of(None).get(path.replace("arc", "none")).status_code == 404
    assert api_of(None).get(f"{path}&only=some").status_code == 400


def test_an_expert_that_nobody_may_know_of_is_summed_up_and_its_answer_left_out(
    cleo: User, ada: User
) -> None:
    made = sent(cleo)
    Adapter.objects.update(private=True)
    path = f"/evaluations/{made['id']}"

    strangers = api_of(None).get(f"{path}/questions?member=arc").json()["items"][0]["answers"]
    owners = api_of(ada).get(f"{path}/questions?member=arc").json()["items"][0]["answers"]

    assert [one["variant"] for one in strangers] == ["base", POLICY, "arrow"]
    assert (strangers[1]["shares"], strangers[1]["by_layer"]) == ({"private": 1.0}, {})
    assert [one["variant"] for one in owners] == ["base", POLICY, "arrow", ALONE]
    assert owners[1]["shares"] == {ALONE: 0.75, "private": 0.25}  # the other one was never here
    assert ALONE not in api_of(None).get(path).content.decode()
    assert ALONE in api_of(ada).get(path).content.decode()


def test_they_are_deleted_for_good_alone_or_with_their_table(cleo: User, ada: User) -> None:
    first, second = sent(cleo), sent(cleo)
    api = api_of(cleo)
    path = f"/api/v1/evaluations/{first['id']}/questions"

    assert api.client.delete(path, headers=api_of(ada).headers).status_code == 403
    assert MemberQuestions.objects.count() == 2
    assert api.client.delete(path, headers=api.headers).status_code == 204
    assert api.get(f"/evaluations/{first['id']}").json()["questions"] == {}
    assert api.client.delete(f"/api/v1/evaluations/{second['id']}", headers=api.headers).status_code == 204
    assert MemberQuestions.objects.count() == 0
    assert Evaluation.objects.count() == 2


def test_only_the_newest_evaluations_of_a_library_keep_them(
    cleo: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "MOST_WITH_QUESTIONS", 2)

    made = [sent(cleo)["id"] for _ in range(3)]
    api_of(cleo).post(SENT, document())  # without any: nobody loses theirs

    assert sorted(MemberQuestions.objects.values_list("evaluation", flat=True)) == made[1:]


@pytest.mark.parametrize(
    ("place_in_it", "value", "said"),
    [
        (("terms",), "", "questions.terms"),
        (("members",), {"other": [question(0, 1.0)]}, "found 'other', expected some of the names in members"),
        (("members", "arc", 0, "answers", 0, "variant"), "nobody", "'nobody', which has no row"),
        (("members", "arc", 0, "answers", 0, "variant"), POLICY, "expected each way once"),
        (
            ("members", "arc", 0, "answers", 1, "by_layer"),
            {ALONE: [1.0]},
            "as many figures by layer as layers, 2",
        ),
        (("members", "arc", 0, "answers", 1, "shares"), {ALONE: 1.5}, "shares"),
        (("members", "arc", 0, "prompt"), "x" * 8001, "prompt"),
        (("members", "arc", 0, "prompt"), "a\0b", "prompt"),
        (("members", "arc", 0, "prompt"), "\ud800", "prompt"),
        (("members", "arc", 0, "answers"), [], "answers"),
        (("members", "arc"), [question(0, 1.0)] * 51, "arc"),
    ],
)
def test_questions_that_do_not_fit_are_refused_by_their_field(
    cleo: User, place_in_it: tuple[str | int, ...], value: object, said: str
) -> None:
    body = deepcopy(asked())
    inner: Any = body["questions"]
    for step in place_in_it[:-1]:
        inner = inner[step]
    inner[place_in_it[-1]] = value

    made = api_of(cleo).post(SENT, body)

    assert made.status_code == 400
    assert said in made.json()["detail"]
    assert not Evaluation.objects.exists()


def test_more_bytes_than_are_kept_are_refused(cleo: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(question_schemas, "MOST_BYTES", 1000)

    made = api_of(cleo).post(SENT, asked())

    assert made.status_code == 400
    assert "bytes of questions, expected at most 1,000; send fewer" in made.json()["detail"]
