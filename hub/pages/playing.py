"""Playgrounds as pages show them: the form, answers in colours and numbers, and the same from a terminal."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from django.conf import settings
from django.http import HttpRequest

from hub.accounts.models import User
from hub.adapters.permissions import heard_adapters
from hub.indexes import guests, queries
from hub.library.models import Library
from hub.library.permissions import Visitor
from hub.library.policy import in_words
from hub.pages import asked as asked_again
from hub.pages import showing
from hub.pages.charts import layer_and_kind
from hub.playground import serving
from hub.playground.answers import Answer, Cell, Grid, strength, totals
from hub.playground.answers import numbers as numbers_of
from hub.playground.asking import may_ask
from hub.playground.questions import Asked, Turn

COLOURS = 6  # of experts; further ones take them again, and are told apart by their numbers
VERSIONS = 12
EXPERTS = 200
FULL_BAR = 100


@dataclass(frozen=True)
class Shown:
    """A token as it stands in the answer: whose it is by number and colour, and that in words."""

    text: str
    number: int | None
    colours: str
    words: str
    begins: bool  # a run of tokens that one expert led


@dataclass(frozen=True)
class Speaker:
    """An expert of an answer: how much of it they led, and their share of all weight, prompt included."""

    name: str
    number: int
    colours: str
    led: int
    part: float  # of the answer's tokens, in percent
    share: float | None


def page(request: HttpRequest, library: Library) -> dict[str, Any]:
    """What stands on the page besides the form and the answers."""
    current = library.current
    return {
        "library": library,
        "may_ask": may_ask(request.user),
        "off": settings.PLAYGROUND == "off",
        "serves": current is not None and serving.answers(library.slug),
        "serving_url": settings.SERVING_URL,
        "start": "python -m workers.serving --store data/store  # or s3://bucket/prefix",
        "policy": in_words(current.policy) if current else "",
        "members": members(library),
        "has_private": has_private(request.user, library),
    }


def offered(library: Library) -> dict[str, Any]:
    """What a column's form offers: versions to choose from, and what stands where nothing is said."""
    policy = library.current.policy if library.current else {}
    return {"versions": _versions(library), "policy": policy}


def _versions(library: Library) -> list[int]:
    """The newest published versions, and the served one."""
    newest = queries.published(library).order_by("-number").values_list("number", flat=True)[:VERSIONS]
    served = [library.current.number] if library.current else []
    return sorted({*newest, *served}, reverse=True)


def members(library: Library) -> list[str]:
    """Experts of the served version, to be chosen from while one types."""
    if library.current is None:
        return []
    rows = (
        library.current.memberships()
        .values_list("release__adapter__owner__username", "release__adapter__name")
        .order_by("pk")[:EXPERTS]
    )
    return sorted(f"{owner}/{name}" for owner, name in rows)


def has_private(visitor: Visitor, library: Library) -> bool:
    """Whether this visitor has private experts to ask with. Most have none, and that is seen at once."""
    if not isinstance(visitor, User) or not heard_adapters(visitor).filter(library=library).exists():
        return False
    return guests.guests(visitor, library).exists()


def commands(request: HttpRequest, asked: Asked, library: Library, *, private: bool) -> list[dict[str, str]]:
    """Exactly what was asked, to be pasted elsewhere."""
    served = showing.served(request, library)
    return asked_again.commands(served, asked.question.path, asked.body(), private=private)


def shown(answer: Answer, numbers: Mapping[str, int]) -> list[Shown]:
    """An answer's tokens, one after the other."""
    found: list[Shown] = []
    for token in answer.tokens:
        name = None if token.expert is None else answer.experts[token.expert]
        number = None if name is None else numbers[name]
        begins = not found or found[-1].number != number
        words = f"{name or 'the plain base'}, {token.share:.0%}" if token.modules or name else ""
        found.append(Shown(token.text, number, colours_of(number), words, begins))
    return found


def speakers(answer: Answer, numbers: Mapping[str, int]) -> list[Speaker]:
    """Who led the answer's tokens, the most first."""
    shares = dict(answer.ended.shares) if answer.ended else {}
    whole = len(answer.tokens)
    return [
        Speaker(name, numbers[name], colours_of(numbers[name]), led, FULL_BAR * led / whole, shares.get(name))
        for name, led in answer.led().items()
    ]


def others(answer: Answer, numbers: Mapping[str, int]) -> list[tuple[int, str]]:
    """Who led somewhere but at no token as a whole, by number: what the numbers in the grid mean."""
    places = {expert for expert, _ in totals(answer) if expert is not None}
    led = answer.led()
    names = {answer.experts[place] for place in places} - led.keys()
    return sorted((numbers[name], name) for name in names)


def grid(answer: Answer, numbers: Mapping[str, int]) -> Grid | None:
    """Who led where, over the whole answer."""
    found: dict[tuple[int, str], Cell] = {}
    for module, (expert, percent) in zip(answer.modules, totals(answer), strict=False):
        name = None if expert is None else answer.experts[expert]
        number = None if name is None else numbers[name]
        layer, kind = layer_and_kind(module)
        words = f"{name or 'the plain base'}, {percent:.0f}%"
        found[layer, kind] = Cell(number, colours_of(number), strength(percent) if name else 0, words)
    if not found:
        return None
    layers = sorted({layer for layer, _ in found})
    kinds = sorted({kind for _, kind in found})
    return Grid(layers, [(kind, [found.get((layer, kind)) for layer in layers]) for kind in kinds])


def colours_of(number: int | None) -> str:
    """The classes of an expert's number: further ones take the page's colours again, with another stroke."""
    if number is None:
        return "c0"
    return f"c{(number - 1) % COLOURS + 1}" + (" again" if number > COLOURS else "")


def columns(
    found: Sequence[Answer], turns: Sequence[Sequence[Turn]], asked: Sequence[Asked] = ()
) -> list[dict[str, Any]]:
    """Both columns for their templates: the conversation before, the answer, and what is said after it."""
    numbers = numbers_of(found)
    shown_columns = []
    for name, before, answer, one in zip_longest(("a", "b"), turns, found, asked):
        said = {} if answer is None else {"answer": answer, **_answer(answer, numbers)}
        after = [*before]
        if answer is not None and one.question.mode == "chat" and not answer.trouble:
            after += [Turn("user", one.question.prompt), Turn("assistant", answer.text)]
        kept = json.dumps([turn.said() for turn in after], ensure_ascii=False)
        shown_columns.append({"name": name, "turns": before, "kept": kept, "asked": one, **said})
    return shown_columns


def _answer(answer: Answer, numbers: Mapping[str, int]) -> dict[str, Any]:
    return {
        "tokens": shown(answer, numbers),
        "speakers": speakers(answer, numbers),
        "grid": grid(answer, numbers),
        "others": others(answer, numbers),
    }


def places(modules: Sequence[str]) -> list[tuple[int, str]]:
    """The layer and kind of each module, for the page's script."""
    return [layer_and_kind(name) for name in modules]
