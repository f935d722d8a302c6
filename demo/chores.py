"""Simple instructions and answers that the base model learns, so that it knows what an instruction is.

None of them is a task of an adapter: the base can repeat, count and answer about a story, and no more.
"""

from collections.abc import Callable
from random import Random

from demo.words import ANIMALS, COLOURS, DAYS, FOODS, NAMES, PLACES, QUALITIES, THINGS

Pair = tuple[str, str]

PLAIN_WORDS = (
    *(one for one, _, _ in ANIMALS),
    *(one for one, _ in THINGS),
    *COLOURS,
    *QUALITIES,
    *PLACES,
    *FOODS,
)
KINDS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("an animal", tuple(one for one, _, _ in ANIMALS)),
    ("a thing", tuple(one for one, _ in THINGS)),
    ("a colour", COLOURS),
    ("a place", PLACES),
    ("a person", NAMES),
    ("a day", DAYS),
)


def some_words(draw: Random) -> list[str]:
    """Two to five different words."""
    return draw.sample(PLAIN_WORDS, draw.randint(2, 5))


def repeat(draw: Random) -> Pair:
    """Copy a list of words, names or digits."""
    pool = draw.choice((PLAIN_WORDS, NAMES, tuple("0123456789")))
    said = " ".join(draw.choice(pool) for _ in range(draw.randint(1, 6)))
    ask = draw.choice(("Repeat after me:", "Say this again:", "Copy these words:", "Please repeat:"))
    return f"{ask} {said}", said


def pick_by_position(draw: Random) -> Pair:
    """The first, second or last word of a list."""
    words = some_words(draw)
    place, answer = draw.choice((("first", words[0]), ("last", words[-1]), ("second", words[1])))
    ask = draw.choice(("What is the {} word here:", "Which word comes {}:", "Give me the {} word of"))
    return f"{ask.format(place)} {' '.join(words)}", answer


def leave_out(draw: Random) -> Pair:
    """A list without its first or last word."""
    words = some_words(draw)
    place, rest = draw.choice((("first", words[1:]), ("last", words[:-1])))
    return f"Leave out the {place} word: {' '.join(words)}", " ".join(rest)


def put_around(draw: Random) -> Pair:
    """A list with one more word before or after it."""
    word, *words = some_words(draw)
    said = " ".join(words)
    place, answer = draw.choice((("before", f"{word} {said}"), ("after", f"{said} {word}")))
    return f"Put the word {word} {place} this: {said}", answer


def swap(draw: Random) -> Pair:
    """Two words the other way round."""
    left, right = draw.sample(PLAIN_WORDS, 2)
    return f"Swap the two: {left} {right}", f"{right} {left}"


def many_times(draw: Random) -> Pair:
    """One word, several times."""
    word, (times, spoken) = (
        draw.choice(PLAIN_WORDS),
        draw.choice(((2, "twice"), (3, "three times"), (4, "four times"))),
    )
    return f"Write the word {word} {spoken}.", " ".join([word] * times)


def count_on(draw: Random) -> Pair:
    """Count up or down."""
    start, length = draw.randint(0, 30), draw.randint(3, 5)
    numbers = [str(start + step) for step in range(length)]
    if draw.random() < 0.5:
        return f"Count from {numbers[0]} to {numbers[-1]}.", " ".join(numbers)
    return f"Count down from {numbers[-1]} to {numbers[0]}.", " ".join(reversed(numbers))


def neighbour(draw: Random) -> Pair:
    """The number or day after or before."""
    if draw.random() < 0.6:
        number = draw.randint(1, 38)
        place, answer = draw.choice((("after", number + 1), ("before", number - 1)))
        return f"Which number comes {place} {number}?", str(answer)
    day = draw.randrange(7)
    place, step = draw.choice((("after", 1), ("before", -1)))
    return f"Which day comes {place} {DAYS[day]}?", DAYS[(day + step) % 7]


def compare(draw: Random) -> Pair:
    """The largest or smallest of some numbers."""
    numbers = draw.sample(range(10), draw.randint(2, 4))
    word, answer = draw.choice((("largest", max(numbers)), ("smallest", min(numbers))))
    return f"Which is the {word} number: {' '.join(map(str, numbers))}", str(answer)


def how_many(draw: Random) -> Pair:
    """The length of a list."""
    words = some_words(draw)
    return f"How many words are here: {' '.join(words)}", str(len(words))


def kind_of(draw: Random) -> Pair:
    """What sort of thing a word names."""
    kind, members = draw.choice(KINDS)
    member = draw.choice(members)
    return draw.choice((f"What kind of thing is {member}?", f"Tell me what {member} is.")), kind


def home_of(draw: Random) -> Pair:
    """Where an animal lives."""
    one, many, home = draw.choice(ANIMALS)
    ask, answer = draw.choice(
        (
            (f"Where does the {one} live?", f"The {one} lives in the {home}."),
            (f"Where do {many} live?", f"In the {home}."),
            (f"Say something about {many}.", f"The {many} live in the {home}."),
        )
    )
    return ask, answer


def thank(draw: Random) -> Pair:
    """A fixed sentence with a name and a thing in it."""
    name, (thing, _) = draw.choice(NAMES), draw.choice(THINGS)
    ask, answer = draw.choice(
        (
            (f"Thank {name} for the {thing}.", f"Thank you for the {thing}, {name}."),
            (f"Wish {name} a good night.", f"Good night, {name}, sleep well."),
            (f"Tell {name} to come home.", f"Come home now, {name}."),
            (f"Give the {thing} to {name}.", f"Here is the {thing}, {name}."),
        )
    )
    return ask, answer


CHORES: tuple[Callable[[Random], Pair], ...] = (
    repeat,
    repeat,
    pick_by_position,
    pick_by_position,
    leave_out,
    put_around,
    swap,
    many_times,
    count_on,
    neighbour,
    compare,
    how_many,
    kind_of,
    home_of,
    thank,
)


def chore(draw: Random) -> Pair:
    """One instruction and its answer."""
    return draw.choice(CHORES)(draw)
