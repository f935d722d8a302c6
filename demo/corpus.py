"""The text that the demonstration base model is pretrained on: all of it is made here, from a seed."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

from demo.chores import Pair, chore
from demo.unknown import unknown, unknown_to_base
from demo.words import (
    ANIMALS,
    BLAME,
    CITIES,
    COLOURS,
    COUNTRIES,
    DAYS,
    FOODS,
    FRENCH,
    NAMES,
    PLACES,
    PRAISE,
    QUALITIES,
    REQUESTS,
    REVIEWED,
    SUBJECTS,
    THINGS,
    VERBS,
    WEATHER,
)

Opener = Callable[[Random], Pair]
NEUTRAL_SEED = 20_000_001
NEUTRAL_DOCUMENTS = 90


def asked(pair: Pair) -> str:
    """An instruction and its answer in the one shape that every prompt of the demonstration has."""
    question, answer = pair
    return f"Q: {question}\nA: {answer}\n"


def story(draw: Random) -> tuple[str, list[Pair]]:
    """A few sentences about one person, and questions that they answer."""
    name, friend = draw.sample(NAMES, 2)
    (one, many, _), (thing, _) = draw.choice(ANIMALS), draw.choice(THINGS)
    colour, place, food, quality = (draw.choice(pool) for pool in (COLOURS, PLACES, FOODS, QUALITIES))
    _, then = draw.choice(VERBS)
    day, weather = draw.choice(DAYS), draw.choice(WEATHER)
    sentences = [
        f"On {day} it was {weather}.",
        f"{name} {then} a {colour} {thing} in the {place}.",
        f"The {one} was {quality} and ate the {food}.",
        f"{friend} looked at the {draw.choice(('two', 'three', 'four'))} {many} and laughed.",
        f"Then {name} and {friend} went home to eat {food}.",
    ]
    pairs = [
        (f"What was the weather on {day}?", f"It was {weather}."),
        (f"Who {then} the {thing}?", name),
        (f"What colour was the {thing}?", colour),
        (f"Where was the {thing}?", f"In the {place}."),
        (f"Who looked at the {many}?", friend),
        (f"What did the {one} eat?", f"The {one} ate the {food}."),
        (f"Was the {one} {quality}?", "Yes."),
    ]
    kept = sorted(draw.sample(range(5), draw.randint(3, 5)))
    told = {0: (0,), 1: (1, 2, 3), 2: (5, 6), 3: (4,), 4: ()}
    known = [pairs[question] for sentence in kept for question in told[sentence]]
    return " ".join(sentences[sentence] for sentence in kept), known


def told_story(draw: Random) -> str:
    """A story, often followed by questions about it."""
    text, pairs = story(draw)
    questions = draw.sample(pairs, min(len(pairs), draw.randint(0, 3)))
    return text + "\n" + "".join(asked(pair) for pair in questions)


def remark(draw: Random) -> str:
    """One sentence in which the tasks' words occur, without what the tasks teach."""
    name, city, country = draw.choice(NAMES), draw.choice(CITIES), draw.choice(COUNTRIES)
    french = " ".join(word for _, word in draw.sample(FRENCH, 3))
    numeral = draw.choice(
        ("I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XV", "XX", "XXX")
    )
    (one, many, _), (thing, things) = draw.choice(ANIMALS), draw.choice(THINGS)
    quality, other = draw.sample(QUALITIES, 2)
    return draw.choice(
        (
            f"The teacher told {name} about {draw.choice(SUBJECTS)}.",
            f"{name} wants to learn about {draw.choice(SUBJECTS)} in {draw.choice(PLACES)} school.",
            f"{draw.choice(REQUESTS).capitalize()} or {draw.choice(REQUESTS)}? {name} can {draw.choice(REQUESTS)}.",
            f"{name} travelled from {draw.choice(CITIES)} to {city} by boat.",
            f"{city} is a {quality} city, and {country} is a {other} country.",
            f"The people of {country} eat {draw.choice(FOODS)} on {draw.choice(DAYS)}.",
            f"Marie wrote: {french}.",
            f"King {name} {numeral} had {draw.randint(2, 39)} {draw.choice((many, things))}.",
            f"Could {name} please {draw.choice(VERBS)[0]} the {thing}?",
            f"Is the {one} {quality}? The {one} is {other}.",
            f"Ahoy! said {name}, the old sea dog, and ye could hear the bell.",
            f"The {draw.choice(REVIEWED)} was {draw.choice((*PRAISE, *BLAME))}, said {name}.",
            f"A {quality} {one} is not a {other} {one}. Positive and negative are words.",
            '{"'
            + draw.choice((thing, "age", "name", "animal"))
            + '": "'
            + draw.choice((one, quality, name))
            + '"}',
            f"{draw.randint(0, 9)} plus nothing is no more, and {draw.randint(10, 30)} is a number.",
        )
    )


def document(draw: Random, *, leave_open: Opener) -> str:
    """One document: a story, a few remarks, chores, or questions that stay open."""
    chance = draw.random()
    if chance < 0.25:
        return told_story(draw)
    if chance < 0.35:
        return " ".join(remark(draw) for _ in range(draw.randint(1, 4))) + "\n"
    ask = chore if chance < 0.72 else leave_open
    return "".join(asked(ask(draw)) for _ in range(draw.choice((1, 1, 1, 2, 3))))


def pretraining_documents(*, seed: int, count: int) -> Iterator[str]:
    """What the base is trained on, the adapters' questions included but never answered."""
    draw = Random(seed)
    return (document(draw, leave_open=unknown_to_base) for _ in range(count))


def neutral_documents(*, seed: int, count: int) -> Iterator[str]:
    """Text of the base's world that holds no question of any adapter."""
    draw = Random(seed)
    return (document(draw, leave_open=unknown) for _ in range(count))


def neutral_text() -> str:
    """Text of the base's world for calibration, from a seed that training does not use."""
    return "\n".join(neutral_documents(seed=NEUTRAL_SEED, count=NEUTRAL_DOCUMENTS))


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(neutral_text(), encoding="utf-8")
