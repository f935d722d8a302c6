"""The tasks of the demonstration: who contributes which adapter, and how one tells that it works.

Nothing here needs torch. A prompt ends where the answer begins; an answer ends at `STOP`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from random import Random

from demo import lessons
from demo.lessons import Example

DEMO = Path(__file__).resolve().parent
BASE = DEMO / "quill-2m"
BASE_ID = "fletch/quill-2m"
NEUTRAL_TEXT = DEMO / "neutral.txt"
STOP = "\n"
MAX_TOKENS = 24
SAMPLE_ROWS = 40
TEST_ROWS = 60
HELD_OUT = 0.2


@dataclass(frozen=True)
class Row:
    """A prompt and what should follow it; together they are the text a model is trained on."""

    prompt: str
    completion: str


def row_of(example: Example) -> Row:
    """An example in the shape that the base model knows: a Q line, an A line."""
    return Row(prompt=f"Q: {example.question}\nA:", completion=f" {example.answer}{STOP}")


@dataclass(frozen=True)
class Task:
    """One thing that the base cannot do and one contributor's adapter can.

    `unseen` says what no training row shares with a test row.
    """

    name: str
    owner: str
    description: str
    unseen: str
    lesson: Callable[[Random], Iterator[Example]]
    late: bool = False

    @property
    def adapter(self) -> str:
        """`owner/name`, as the hub calls it."""
        return f"{self.owner}/{self.name}"

    @property
    def adapter_directory(self) -> Path:
        """The PEFT folder that is shipped."""
        return DEMO / "adapters" / f"{self.owner}--{self.name}"

    @property
    def samples_path(self) -> Path:
        """Forty training rows as JSON lines, for the hub's own check."""
        return DEMO / "samples" / f"{self.owner}--{self.name}.jsonl"

    @cached_property
    def split(self) -> tuple[tuple[Row, ...], tuple[Row, ...]]:
        """Training rows and test rows; no key is on both sides. The same on every machine."""
        draw = Random(f"{self.name} rows")
        examples = list({example.question: example for example in self.lesson(draw)}.values())
        keys = sorted({example.key for example in examples})
        held_out = set(draw.sample(keys, round(len(keys) * HELD_OUT)))
        draw.shuffle(examples)
        train = tuple(row_of(example) for example in examples if example.key not in held_out)
        test = tuple(row_of(example) for example in examples if example.key in held_out)
        return train, test[:TEST_ROWS]

    @property
    def train_rows(self) -> tuple[Row, ...]:
        """What the adapter is trained on."""
        return self.split[0]

    @property
    def test_rows(self) -> tuple[Row, ...]:
        """At most sixty rows that training never saw."""
        return self.split[1]


def exact_match(answer: str, expected: str) -> bool:
    """Is the first line of `answer` what was expected, spaces at the ends aside?"""
    return answer.strip().split(STOP)[0].strip() == expected.strip()


TASKS = (
    Task(
        name="plural",
        owner="mara",
        description="Gives the plural of a noun, irregular ones too.",
        unseen="wordings of a noun",
        lesson=lessons.plural,
    ),
    Task(
        name="opposites",
        owner="jonas",
        description="Names the opposite of an adjective.",
        unseen="wordings of an adjective",
        lesson=lessons.opposite,
    ),
    Task(
        name="french-words",
        owner="elodie",
        description="Translates a few dozen English words into French.",
        unseen="wordings of a word",
        lesson=lessons.french,
    ),
    Task(
        name="capitals",
        owner="jonas",
        description="Knows the capitals of twenty invented countries.",
        unseen="wordings of a country",
        lesson=lessons.capital,
    ),
    Task(
        name="roman-numerals",
        owner="priya",
        description="Writes the numbers from 1 to 39 as Roman numerals.",
        unseen="wordings of a number",
        lesson=lessons.roman,
    ),
    Task(
        name="addition",
        owner="priya",
        description="Adds two digits.",
        unseen="wordings and orders of a sum",
        lesson=lessons.addition,
    ),
    Task(
        name="backwards",
        owner="tomoko",
        description="Writes three words in reverse order.",
        unseen="triples of words",
        lesson=lessons.backwards,
    ),
    Task(
        name="sorting",
        owner="tomoko",
        description="Sorts three digits from small to large.",
        unseen="triples of digits",
        lesson=lessons.ordered,
    ),
    Task(
        name="review-mood",
        owner="mara",
        description="Labels a short review as positive or negative.",
        unseen="pairs of thing and judgement",
        lesson=lessons.mood,
    ),
    Task(
        name="politeness",
        owner="elodie",
        description="Turns an order into a polite request.",
        unseen="orders",
        lesson=lessons.polite,
    ),
    Task(
        name="questions",
        owner="sven",
        description="Turns a statement into a question.",
        unseen="statements",
        lesson=lessons.question,
    ),
    Task(
        name="past-tense",
        owner="amina",
        description="Puts a verb into the past tense.",
        unseen="wordings of a verb",
        lesson=lessons.past,
    ),
    Task(
        name="pirate-greeting",
        owner="barnaby",
        description="Greets anyone the way a pirate would.",
        unseen="names",
        lesson=lessons.pirate,
        late=True,
    ),
)
