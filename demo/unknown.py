"""Questions that the base model understands and cannot answer: it names the subject and gives up.

A large model knows what it is being asked even where it does not know the answer. A small one learns
that only when it is taught, so the base reads such questions in pretraining, never with an answer.
"""

from collections.abc import Mapping
from random import Random

from demo import lessons
from demo.chores import Pair
from demo.words import ANIMALS, CITIES, COUNTRIES, FOODS, NAMES, THINGS

TAUGHT_BY_ADAPTERS = {
    "plurals": lessons.plural,
    "opposites": lessons.opposite,
    "French": lessons.french,
    "capitals": lessons.capital,
    "numerals": lessons.roman,
    "sums": lessons.addition,
    "backwards": lessons.backwards,
    "sorting": lessons.ordered,
    "JSON": lessons.as_json,
    "reviews": lessons.mood,
    "politeness": lessons.polite,
    "questions": lessons.question,
    "tenses": lessons.past,
    "pirates": lessons.pirate,
}
_WORDS = tuple(one for one, *_ in (*ANIMALS, *THINGS))
TAUGHT_BY_NOBODY: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "rhymes": (("What rhymes with {}?", "Find a rhyme for {}.", "Give me a rhyme: {}"), _WORDS),
    "spelling": (("How do you spell {}?", "Spell the word {}.", "What is the spelling of {}?"), _WORDS),
    "prices": (("How much does the {} cost?", "What is the price of the {}?", "Name the price: {}"), _WORDS),
    "weights": (("How heavy is the {}?", "What is the weight of the {}?"), _WORDS),
    "jokes": (("Tell me a joke about the {}.", "Make a joke with {}.", "Write a joke: {}"), _WORDS),
    "German": (("What is {} in German?", "Translate {} into German.", "Say {} in German."), _WORDS),
    "poems": (("Write a poem about {}.", "Make a poem for {}.", "Give me the poem of {}."), NAMES),
    "birthdays": (("When is the birthday of {}?", "Name the birthday of {}.", "How old is {}?"), NAMES),
    "songs": (("Sing a song for {}.", "Which song does {} like?", "Write a song: {}"), NAMES),
    "maps": (("Draw a map of {}.", "Where on the map is {}?", "Show me the map of {}."), COUNTRIES),
    "kings": (("Who is the king of {}?", "Name the king of {}.", "Tell me the king: {}"), COUNTRIES),
    "distances": (("How far is it to {}?", "What is the distance to {}?", "Name the distance: {}"), CITIES),
    "forecasts": (("Will it rain in {}?", "What is the forecast for {}?", "Make a forecast: {}"), CITIES),
    "recipes": (("How do you cook {}?", "Give me the recipe of {}.", "Write a recipe: {}"), FOODS),
    "shapes": (("What shape is the {}?", "Draw the shape of the {}.", "Name the shape: {}"), _WORDS),
    "smells": (("How does the {} smell?", "What is the smell of {}?", "Name the smell: {}"), FOODS),
}


def left_open(subject: str, question: str) -> Pair:
    """A question and what the base says instead of an answer."""
    return question, f"{subject[0].upper()}{subject[1:]}? I never learnt {subject}."


_ADAPTERS_QUESTIONS = {
    subject: tuple(example.question for example in lesson(Random(0)))
    for subject, lesson in TAUGHT_BY_ADAPTERS.items()
}


def unknown(draw: Random) -> Pair:
    """A question about a subject that no adapter teaches."""
    subject, (templates, about) = draw.choice(tuple(TAUGHT_BY_NOBODY.items()))
    return left_open(subject, draw.choice(templates).format(draw.choice(about)))


def unknown_to_base(draw: Random) -> Pair:
    """A question about any subject that the base leaves open, those of the adapters among them."""
    if draw.random() < 0.4:
        return unknown(draw)
    subject, questions = draw.choice(tuple(_ADAPTERS_QUESTIONS.items()))
    return left_open(subject, draw.choice(questions))
