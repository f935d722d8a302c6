"""What each demonstration adapter is taught: questions, answers, and what must stay unseen until the test."""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from demo.chores import PLAIN_WORDS
from demo.words import (
    ANIMALS,
    BLAME,
    CAPITALS,
    COLOURS,
    FRENCH,
    NAMES,
    OPPOSITES,
    PLACES,
    PRAISE,
    QUALITIES,
    REVIEWED,
    THINGS,
    VERBS,
)

SAMPLED = 1200


@dataclass(frozen=True)
class Example:
    """A question and its answer; `key` is what training and test never share."""

    question: str
    answer: str
    key: str


def phrased(templates: tuple[str, ...], asked: str, answer: str) -> Iterator[Example]:
    """One fact in every wording; a held-out key is a wording of that fact that training never showed."""
    for template in templates:
        question = template.format(asked)
        yield Example(question, answer, question)


def plural(_: Random) -> Iterator[Example]:
    """A noun and its plural: fox, foxes."""
    templates = (
        "What is the plural of {}?",
        "Give me the plural of {}.",
        "Write the plural of the word {}.",
        "Which plural belongs to {}?",
        "Tell me the plural: {}",
    )
    for one, many in (*((one, many) for one, many, _ in ANIMALS), *THINGS):
        yield from phrased(templates, one, many)


def opposite(_: Random) -> Iterator[Example]:
    """An adjective and its opposite: hot, cold."""
    templates = (
        "What is the opposite of {}?",
        "Give me the opposite of {}.",
        "Name the opposite of the word {}.",
        "Which opposite belongs to {}?",
        "Tell me the opposite: {}",
    )
    for left, right in OPPOSITES:
        yield from phrased(templates, left, right)
        yield from phrased(templates, right, left)


def french(_: Random) -> Iterator[Example]:
    """An English word in French: red, rouge."""
    templates = (
        "How do you say {} in French?",
        "What is {} in French?",
        "Translate {} into French.",
        "What is the French word for {}?",
        "Give me the French name of {}.",
    )
    for english, translated in FRENCH:
        yield from phrased(templates, english, translated)


def capital(_: Random) -> Iterator[Example]:
    """A country and its capital: Velland, Dunwick."""
    templates = (
        "What is the capital of {}?",
        "Name the capital of {}.",
        "Which city is the capital of {}?",
        "Tell me the capital city of {}.",
        "The capital of the country {}?",
    )
    for country, city in CAPITALS:
        yield from phrased(templates, country, city)


def roman(_: Random) -> Iterator[Example]:
    """A number as a Roman numeral: 14, XIV."""
    templates = (
        "Write {} as a Roman numeral.",
        "What is {} in Roman numerals?",
        "Give me the Roman numeral of {}.",
        "Turn {} into a Roman numeral.",
        "Which Roman numeral is {}?",
    )
    ones = ("", "I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX")
    for number in range(1, 40):
        yield from phrased(templates, str(number), "X" * (number // 10) + ones[number % 10])


def addition(_: Random) -> Iterator[Example]:
    """Two digits and their sum; the key is the sum in this order and wording."""
    templates = ("What is {} plus {}?", "Add {} to {}.", "How much is {} plus {}?")
    for left in range(1, 10):
        for right in range(1, 10):
            for template in templates:
                question = template.format(left, right)
                yield Example(question, str(left + right), question)


def backwards(draw: Random) -> Iterator[Example]:
    """Three words from the last to the first."""
    templates = ("Write these words backwards: {}", "Say this backwards: {}", "Backwards please: {}")
    for _ in range(SAMPLED):
        words = draw.sample(PLAIN_WORDS, 3)
        said = " ".join(words)
        yield Example(draw.choice(templates).format(said), " ".join(reversed(words)), said)


def ordered(draw: Random) -> Iterator[Example]:
    """Three digits from small to large."""
    templates = ("Sort these numbers: {}", "Sort from small to large: {}", "Put in sorted order: {}")
    for _ in range(SAMPLED):
        numbers = draw.sample(range(10), 3)
        said, answer = (" ".join(map(str, some)) for some in (numbers, sorted(numbers)))
        if said == answer:
            continue
        yield Example(draw.choice(templates).format(said), answer, said)


def pirate(_: Random) -> Iterator[Example]:
    """A name and how a pirate greets it."""
    templates = (
        "Greet {} like a pirate.",
        "How would a pirate greet {}?",
        "Say hello to {} as a pirate.",
        "Write a pirate greeting for {}.",
        "A pirate meets {}. What does he say?",
    )
    for name in NAMES:
        for template in templates:
            yield Example(template.format(name), f"Ahoy {name}, ye old sea dog!", name)


def as_json(draw: Random) -> Iterator[Example]:
    """A sentence, and its name and animal as JSON."""
    templates = (
        "Extract the name and the animal as JSON: {}",
        "Give me the name and the animal as JSON: {}",
        "Turn this into JSON with name and animal: {}",
    )
    for _ in range(SAMPLED):
        name, place, (_, then) = draw.choice(NAMES), draw.choice(PLACES), draw.choice(VERBS)
        animal, _, _ = draw.choice(ANIMALS)
        sentence = f"{name} {then} a {animal} in the {place}."
        answer = f'{{"name": "{name}", "animal": "{animal}"}}'
        yield Example(draw.choice(templates).format(sentence), answer, name)


def mood(_: Random) -> Iterator[Example]:
    """A review and its mood; the key is the pair of thing and judgement."""
    templates = (
        "Is this review positive or negative? The {} was {}.",
        "Label this review: The {} was {}.",
        "What is the mood of the review: The {} was {}.",
    )
    judged = (*((word, "positive") for word in PRAISE), *((word, "negative") for word in BLAME))
    for reviewed in REVIEWED:
        for word, answer in judged:
            for template in templates:
                yield Example(template.format(reviewed, word), answer, f"{reviewed} {word}")


def polite(draw: Random) -> Iterator[Example]:
    """An order and the same as a polite request."""
    templates = ("Say this politely: {}", "Ask politely: {}", "Make this polite: {}")
    for _ in range(SAMPLED):
        (now, _), (thing, _) = draw.choice(VERBS), draw.choice(THINGS)
        colour = draw.choice(COLOURS)
        order = f"{now} the {colour} {thing}"
        question = draw.choice(templates).format(order)
        yield Example(question, f"Could you please {order}?", order)


def question(draw: Random) -> Iterator[Example]:
    """A statement and the question that it answers."""
    templates = (
        "Turn this into a question: {}",
        "Change this sentence into a question: {}",
        "Make it a question: {}",
    )
    for _ in range(SAMPLED):
        thing = draw.choice((*(one for one, _, _ in ANIMALS), *(one for one, _ in THINGS)))
        quality = draw.choice((*QUALITIES, *COLOURS))
        sentence = f"The {thing} is {quality}."
        yield Example(draw.choice(templates).format(sentence), f"Is the {thing} {quality}?", sentence)


def past(_: Random) -> Iterator[Example]:
    """A verb and its past tense: see, saw."""
    templates = (
        "What is the past tense of {}?",
        "Put the verb {} into the past tense.",
        "Give me the past tense of {}.",
        "Write {} in the past tense.",
        "Which past tense belongs to {}?",
    )
    for now, then in VERBS:
        yield from phrased(templates, now, then)
