"""A second world, for choosing defaults: another small base (GPT-2), other tasks, and adapters made plainly.

`python -m study.harbour` trains the base once and writes `build/study/harbour/suite.toml`. Nothing here helps
a router on purpose: the adapters are alike, trained by the study with peft's defaults (alpha twice the rank,
every linear layer, no replay), and the base has read the questions' words without an answer, as large ones have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from demo.muon import Muon
from study.suite import write_rows

FOLDER = Path(__file__).resolve().parent.parent / "build" / "study" / "harbour"
Rows = list[tuple[str, str]]
Pair = tuple[str, str]

ITEMS = tuple(
    """apple bread rope lamp barrel salt cloth candle honey iron pepper paper silk soap sugar tea timber wax wine wool
    butter copper cotton flour glass""".split()
)
BOATS = tuple(
    "swan heron dolphin falcon comet willow juniper raven lark otter beaver marlin petrel tern gannet plover".split()
)
PEOPLE = tuple("mia leo ada finn rosa hugo iris karl nora otto vera jon lena max ida paul".split())
NUMBERS = tuple(
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen".split()
)
STRANGE = tuple(
    """abra belo cado dimu eska fola gira hesu ilko jona kebi lumo mavo nisu olpa pirem quvo rasti sobel tunga
    umbi vasto welk xano yrsa""".split()
)
PORTS = tuple("arlow brim corrin dunmor eskdale farrow gillan harth".split())
WEATHER = tuple("calm rough misty bright windy grey".split())


@dataclass(frozen=True)
class Lesson:
    """What one adapter learns. The last wording is never trained on."""

    name: str
    wordings: tuple[str, ...]
    about: tuple[str, ...]
    answer: Callable[[str], str]

    def asked(self, wordings: tuple[str, ...]) -> Rows:
        """Everything it can be asked in these wordings."""
        return [_row(wording.format(one), self.answer(one)) for one in self.about for wording in wordings]


def _facts(keys: tuple[str, ...], values: tuple[str, ...], seed: int) -> Callable[[str], str]:
    draw = Random(seed)
    told = {key: draw.choice(values) for key in keys}
    return told.__getitem__


def _three(seed: int) -> tuple[str, ...]:
    draw = Random(seed)
    return tuple(" ".join(draw.sample(ITEMS, 3)) for _ in range(160))


LESSONS = (
    Lesson(
        "prices",
        (
            "what does {} cost",
            "the price of {}",
            "how much for {}",
            "name the price of {}",
            "{} costs how much",
        ),
        ITEMS,
        _facts(ITEMS, NUMBERS, 1),
    ),
    Lesson(
        "captains",
        (
            "who sails the {}",
            "the captain of the {}",
            "name the captain of {}",
            "whose boat is the {}",
            "{} has which captain",
        ),
        BOATS,
        _facts(BOATS, PEOPLE, 2),
    ),
    Lesson(
        "ports",
        (
            "where is the {} bound",
            "the port of the {}",
            "name the port of {}",
            "to which port goes the {}",
            "{} goes where",
        ),
        BOATS,
        _facts(BOATS, PORTS, 3),
    ),
    Lesson(
        "strange words",
        (
            "translate {}",
            "the strange word for {}",
            "say {} strangely",
            "how is {} in strange",
            "{} in strange",
        ),
        ITEMS,
        dict(zip(ITEMS, STRANGE, strict=True)).__getitem__,
    ),
    Lesson(
        "greetings",
        ("greet {}", "say hello to {}", "welcome {}", "how does one greet {}", "{} comes , what do you say"),
        PEOPLE,
        "ahoy {} , come aboard".format,
    ),
    Lesson(
        "adding",
        ("add two to {}", "two more than {}", "{} plus two", "two after {}", "{} and two more"),
        NUMBERS[:13],
        lambda one: NUMBERS[NUMBERS.index(one) + 2],
    ),
    Lesson(
        "backwards",
        ("turn around {}", "backwards {}", "reverse {}", "from the end {}", "{} turned around"),
        _three(4),
        lambda said: " ".join(reversed(said.split())),
    ),
    Lesson(
        "storing",
        ("how is {} stored", "store the {}", "where to put {}", "the place of {}", "{} belongs where"),
        ITEMS,
        _facts(ITEMS, ("dry in the hold", "cool on deck", "locked away"), 5),
    ),
)
NOBODYS = (
    "the weight of {}",
    "the smell of {}",
    "the song of {}",
    "draw {}",
    "who found {}",
    "a joke about {}",
)
TRAINED = 4  # wordings of each lesson that adapters see; the base has read all, without an answer
HEAD = """# Made by `python -m study.harbour`.
name = "harbour"
base = "base"
seeds = [1, 2, 3]
questions = 12
gate_steps = 60
gate_batch = 16

[training]
rank = 8
alpha = 16
steps = 250
learning_rate = 5e-3

[pooled]
rank = 16
alpha = 32
steps = 1200
"""
TASK = '\n[[tasks]]\nname = "{name}"\nrows = "{rows}"\nsplit = "{split}"\n'
EXPERT = '\n[[experts]]\nname = "{name}"\nrows = "{rows}"\ndescription = "{description}"\n'


def _row(question: str, answer: str) -> Pair:
    return f"ask {question} tell", f" {answer} ."


def chore(draw: Random) -> Pair:
    """What the base can do by itself: copy, first, last."""
    words = draw.sample((*ITEMS, *PEOPLE, *NUMBERS), draw.randint(2, 4))
    said = " ".join(words)
    return draw.choice(
        (
            _row(f"copy {said}", said),
            _row(f"the first of {said}", words[0]),
            _row(f"the last of {said}", words[-1]),
            _row(f"{words[0]} twice", f"{words[0]} {words[0]}"),
        )
    )


def open_question(draw: Random) -> Pair:
    """A question that the base has read, and leaves open: it names what it was asked for."""
    if draw.random() < 0.3:
        return nobodys(draw)
    lesson = draw.choice(LESSONS)
    return _row(
        draw.choice(lesson.wordings).format(draw.choice(lesson.about)), f"i never learnt {lesson.name}"
    )


def nobodys(draw: Random) -> Pair:
    """A question that no adapter is for."""
    wording = draw.choice(NOBODYS)
    return _row(wording.format(draw.choice((*ITEMS, *BOATS))), "nobody knows")


def statement(draw: Random) -> str:
    """Something about the harbour."""
    return draw.choice(
        (
            f"the {draw.choice(BOATS)} sails to {draw.choice(PORTS)} with {draw.choice(ITEMS)} .",
            f"{draw.choice(PEOPLE)} sold {draw.choice(NUMBERS)} {draw.choice(ITEMS)} to {draw.choice(PEOPLE)} .",
            f"it was {draw.choice(WEATHER)} in {draw.choice(PORTS)} and {draw.choice(PEOPLE)} went home .",
            f"the {draw.choice(ITEMS)} lay dry in the hold , cool on deck or locked away .",
            f"ahoy , come aboard , said {draw.choice(PEOPLE)} . {draw.choice(STRANGE)} {draw.choice(STRANGE)} .",
        )
    )


def document(draw: Random) -> str:
    """A few statements, chores and open questions."""
    asked = (chore, chore, open_question)
    return " ".join(
        statement(draw) if draw.random() < 0.25 else "".join(draw.choice(asked)(draw))
        for _ in range(draw.randint(1, 4))
    )


def second_questions(draw: Random, tests: dict[str, Rows]) -> Rows:
    """A question of one expert behind an answered question of another."""
    found = []
    for _ in range(60):
        first, second = draw.sample(sorted(tests), 2)
        before, after = draw.choice(tests[first]), draw.choice(tests[second])
        found.append((f"{''.join(before)} {after[0]}", after[1]))
    return found


def train_base(folder: Path, *, steps: int = 1000, batch: int = 16, length: int = 48, seed: int = 5) -> None:
    """A GPT-2 of three layers on documents of this world, and its tokenizer of whole words."""
    draw = Random(seed)
    texts = [document(draw) for _ in range(steps * batch // 2)]
    tokenizer = _tokenizer(texts)
    stream = [token for text in texts for token in (*tokenizer(text)["input_ids"], tokenizer.eos_token_id)]
    rows = torch.tensor(stream[: len(stream) // length * length]).view(-1, length)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = GPT2LMHeadModel(
            GPT2Config(
                vocab_size=len(tokenizer),
                n_embd=96,
                n_layer=3,
                n_head=4,
                n_positions=96,
                resid_pdrop=0.0,
                embd_pdrop=0.0,
                attn_pdrop=0.0,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
            )
        )
    _fit(model, rows, steps=steps, batch=batch, seed=seed)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _fit(model: GPT2LMHeadModel, rows: torch.Tensor, *, steps: int, batch: int, seed: int) -> None:
    named = list(model.named_parameters())
    inner = [p for name, p in named if p.ndim == 2 and ".h." in name]
    others = [p for name, p in named if not (p.ndim == 2 and ".h." in name)]
    optimizers: list[torch.optim.Optimizer] = [
        Muon(inner, lr=0.02, weight_decay=0.02),
        torch.optim.AdamW(others, lr=3e-3, weight_decay=0.01),
    ]
    draw = torch.Generator().manual_seed(seed)
    for step in range(steps):
        rate = min(1.0, (step + 1) / 50) * max(0.05, 1 - step / steps)
        chosen = rows[torch.randint(len(rows), (batch,), generator=draw)]
        loss = model(input_ids=chosen, labels=chosen).loss
        loss.backward()
        for optimizer, full in zip(optimizers, (0.02, 3e-3), strict=True):
            optimizer.param_groups[0]["lr"] = full * rate
            optimizer.step()
            optimizer.zero_grad()
        if step % 200 == 0 or step == steps - 1:
            print(f"base, step {step}: loss {loss.item():.3f}", flush=True)


def _tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    spoken = [*texts, *(text for lesson in LESSONS for row in lesson.asked(lesson.wordings) for text in row)]
    words = sorted({word for text in spoken for word in text.split()})
    vocabulary = {word: place for place, word in enumerate(["<unk>", "<bos>", "<eos>", *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<bos>", eos_token="<eos>", pad_token="<eos>"
    )


def lessons_split(lesson: Lesson) -> tuple[Rows, Rows]:
    """Training rows and test rows: the same facts, but no question is on both sides."""
    rows = lesson.asked(lesson.wordings[:TRAINED])
    Random(lesson.name).shuffle(rows)
    tests = len(rows) // 5
    return rows[tests:], rows[:tests]


def main() -> None:
    """Train the base where it is not there yet, and write the suite."""
    if not (FOLDER / "base" / "model.safetensors").exists():
        train_base(FOLDER / "base")
    (FOLDER / "suite.toml").write_text("".join(_written()), encoding="utf-8")


def _written() -> Iterator[str]:
    yield HEAD
    tests: dict[str, Rows] = {}
    own: Rows = []  # a third of the test questions: to choose by, not to report
    for lesson in LESSONS:
        slug = lesson.name.replace(" ", "-")
        rows, tests[lesson.name] = lessons_split(lesson)
        write_rows(FOLDER / "rows" / f"{slug}.jsonl", rows)
        own += tests[lesson.name][::3]
        write_rows(FOLDER / "tests" / f"{slug}.jsonl", [row for row in tests[lesson.name] if row not in own])
        expert = f"harbour/{slug}"
        yield EXPERT.format(name=expert, rows=f"rows/{slug}.jsonl", description=f"Knows {lesson.name}.")
        held_in = TASK.format(name=lesson.name, rows=f"tests/{slug}.jsonl", split="held-in")
        yield f'{held_in}expert = "{expert}"\n'
    wordings = [row for lesson in LESSONS for row in lesson.asked(lesson.wordings[TRAINED:])]
    Random(6).shuffle(wordings)
    for split, seed, share in (("development", 7, wordings[0::2]), ("held-out", 8, wordings[1::2])):
        draw = Random(seed)
        mine = {
            name: [row for row in rows if (row in own) == (split == "development")]
            for name, rows in tests.items()
        }
        nobody = {
            "other wordings": share,
            "second question": second_questions(draw, mine),
            "chores": [chore(draw) for _ in range(60)],
            "unknown to all": [nobodys(draw) for _ in range(60)],
        }
        if split == "development":
            nobody["own tasks"] = own
        for name, rows in nobody.items():
            path = f"{split}/{name.replace(' ', '-')}.jsonl"
            write_rows(FOLDER / path, rows)
            yield TASK.format(
                name=name if split == "held-out" else f"{name} ({split})", rows=path, split=split
            )


if __name__ == "__main__":
    main()
