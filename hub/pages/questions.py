"""Some questions of one member of an evaluation's suite, one by one: the prompt, all answers, who spoke."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.core.paginator import Paginator
from django.http import HttpRequest, QueryDict

from hub.errors import NotFound
from hub.evaluations import questions
from hub.evaluations.models import Evaluation
from hub.evaluations.questions import ONLY, PRIVATE, Only, Seen
from hub.library.models import Library
from hub.library.permissions import may_maintain
from hub.pages.evaluation import Way, evaluation_of, way_of
from hub.pages.hearing import STEPS, Cell
from hub.pages.playing import offered
from hub.playground.asking import may_ask

A_PAGE = 10
FOLDED = 700  # characters of a prompt that are shown before one unfolds it
UNNAMED = "experts that are private, or gone"
LONGEST_LINK = 3_500  # bytes: servers refuse addresses from about four thousand on
VERDICTS = {True: ("right", "good", "check"), False: ("wrong", "bad", "cross")}
TITLES: Mapping[Only, str] = {"all": "All", "differ": "Where ways differ", "wrong": "Wrong answers"}


@dataclass(frozen=True)
class Speaker:
    """An expert's part of all mixing weight in percent; `name` is empty for what stands for several."""

    name: str
    title: str
    percent: float
    cells: Sequence[Cell]


@dataclass(frozen=True)
class Answer:
    """What one way said. `right` is None where its metric knows more than right and wrong."""

    way: Way
    score: float
    right: bool | None
    text: str
    taken: str
    speakers: Sequence[Speaker]
    is_asked: bool  # the way that the visitor asks about

    @property
    def verdict(self) -> tuple[str, str, str] | None:
        """In a word, with the classes of a badge and its icon."""
        return None if self.right is None else VERDICTS[self.right]


@dataclass(frozen=True)
class Question:
    number: int
    task: str
    place: str
    differs: bool
    metric: str
    prompt: str
    is_long: bool
    cut: bool
    expected: str
    answers: Sequence[Answer]
    play: Mapping[str, str]  # the fields of the playground's form
    link: str  # empty where it would be too long for an address


@dataclass(frozen=True)
class Filter:
    """A narrowing to choose: how it is called, how many questions it leaves, and its address."""

    title: str
    count: int
    query: str
    is_chosen: bool


def questions_page(request: HttpRequest, library: Library, number: int) -> dict[str, Any]:
    """Raises NotFound."""
    found = evaluation_of(library, number)
    member, said = request.GET.get("member", ""), request.GET
    if member not in found.members:
        raise NotFound(f"The suite {found.suite} has no member {member[:80]!r}.")
    seen = questions.seen(found, member, request.user)
    way = next((one for one in seen.ways if one == said.get("way")), _policy(found, seen))
    only: Only = next((one for one in ONLY if one == said.get("only")), "all")
    page = Paginator(seen.only(only, way), A_PAGE).get_page(said.get("page"))
    asks = _asks(library, found, way, seen.kinds[way])
    first = page.start_index()
    return {
        "library": library,
        "evaluation": found,
        "version": found.version,
        "member": member,
        "facts": found.members[member],
        "way": way_of({"variant": way, "kind": seen.kinds[way]}),
        "ways": [way_of({"variant": name, "kind": seen.kinds[name]}) for name in seen.ways],
        "only": only,
        "filters": [_filter(one, only, seen, way) for one in ONLY],
        "kept": len(seen.questions),
        "layers": seen.layers,
        "page": page,
        "more": "&" + urlencode({"member": member, "only": only, "way": way}),
        "questions": [
            _question(first + place, one, seen, way, asks) for place, one in enumerate(page.object_list)
        ],
        "may_ask": may_ask(request.user),
        "may_maintain": may_maintain(request.user, library),
    }


def _policy(found: Evaluation, seen: Seen) -> str:
    """The library's own way, where nobody asks about another one."""
    policy = found.row("policy")
    return policy["variant"] if policy and policy["variant"] in seen.ways else seen.ways[0]


def _filter(which: Only, chosen: Only, seen: Seen, way: str) -> Filter:
    query = QueryDict(mutable=True)
    query.update({"member": seen.member, "only": which, "way": way})
    return Filter(TITLES[which], len(seen.only(which, way)), query.urlencode(), which == chosen)


def _asks(library: Library, found: Evaluation, way: str, kind: str) -> dict[str, str]:
    """How a playground is to answer as this way did; by the served version, where this one is not offered."""
    fields: dict[str, str] = {}
    if found.version.number in offered(library)["versions"]:
        fields["a-version"] = str(found.version.number)
    if kind == "base":
        fields["a-who"] = "base"
    elif kind == "expert":
        fields |= {"a-who": "expert", "a-expert": way}
    elif kind == "router":
        fields["a-router"] = way
    return fields


def _question(
    number: int, said: questions.Question, seen: Seen, way: str, asks: Mapping[str, str]
) -> Question:
    play = {} if said["cut"] else {"prompt": said["prompt"], **asks}
    query = urlencode(play)
    return Question(
        number,
        said["task"],
        said["question"],
        said["differs"],
        said["metric"],
        said["prompt"],
        len(said["prompt"]) > FOLDED,
        said["cut"],
        said["expected"].strip(),
        [_answer(answer, seen, way) for answer in _in_order(said["answers"], seen)],
        play,
        query if play and len(query) <= LONGEST_LINK else "",
    )


def _in_order(answers: Sequence[Mapping[str, Any]], seen: Seen) -> list[Mapping[str, Any]]:
    """As their rows stand in the table."""
    places = {name: place for place, name in enumerate(seen.kinds)}
    return sorted(answers, key=lambda answer: places.get(answer["variant"], len(places)))


def _answer(said: Mapping[str, Any], seen: Seen, way: str) -> Answer:
    kind = seen.kinds[said["variant"]]
    return Answer(
        way_of({"variant": said["variant"], "kind": kind}),
        said["score"],
        said["right"],
        said["text"].strip(),
        said["taken"].strip(),
        () if kind in {"base", "expert"} else _speakers(said),
        said["variant"] == way,
    )


def _speakers(said: Mapping[str, Any]) -> list[Speaker]:
    """Who spoke, the most first; where nobody did, all of it was the plain base's."""
    found = []
    for name, share in said["shares"].items():
        cells = [_cell(weight) for weight in said["by_layer"].get(name, ())]
        hidden = name == PRIVATE
        found.append(Speaker("" if hidden else name, UNNAMED if hidden else name, 100 * share, cells))
    rest = 1.0 - sum(said["shares"].values())
    if not said["shares"]:
        found.append(Speaker("", "the plain base alone", 0.0, ()))
    elif rest > 0.001:  # noqa: PLR2004 - less is what rounding left
        found.append(Speaker("", "others", 100 * rest, ()))
    return found


def _cell(weight: float) -> Cell:
    return Cell(100 * weight, min(STEPS, round(STEPS * weight + 0.4)))
