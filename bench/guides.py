"""`python -m bench.guides`: what it costs to hold an answer to a form, beside a pass of the base.

A made vocabulary of 128,000 words (random letters, some digits and punctuation, byte-level as most are), and
random walks through what a schema allows: harder on the parser than text that a model writes. Microseconds to
make a mask and to go on behind a token; milliseconds to read a schema; seconds to read the vocabulary, once a base.
"""

from __future__ import annotations

import random
import statistics
import time
from typing import Any

import torch
from llguidance import LLMatcher, LLTokenizer
from llguidance.hf import from_tokenizer
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from bench.report import save, show
from workers.serving.followers import Follower
from workers.serving.formats import of_schema
from workers.serving.guides import LIMITS

WORDS = 128_000
STEPS = 2_000
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
MARKS = ' \n{}[]",:._-0123456789'
MARKED = 0.05  # of the words: as of real vocabularies most are letters behind a space
NAME = {"type": "string", "maxLength": 40}
SCHEMAS: dict[str, dict[str, Any]] = {
    "any object": {"type": "object"},
    "three fields": {
        "type": "object",
        "properties": {"name": NAME, "age": {"type": "integer"}, "tags": {"type": "array", "items": NAME}},
        "required": ["name", "age", "tags"],
        "additionalProperties": False,
    },
    "a pattern": {"type": "array", "items": {"type": "string", "pattern": "^[A-Z]{2}[0-9]{4,9}-[a-z]+$"}},
    "two hundred fields": {
        "type": "object",
        "properties": {f"field{place}": NAME for place in range(200)},
        "additionalProperties": False,
    },
}


def vocabulary() -> LLTokenizer:
    """Words of one to eight characters, every byte among them; the last word ends an answer."""
    chance = random.Random(0)
    words = dict.fromkeys(sorted(pre_tokenizers.ByteLevel.alphabet()))
    while len(words) < WORDS - 1:
        letters = chance.choice(["", " "]) + "".join(chance.choices(LETTERS, k=chance.randint(2, 8)))
        marks = "".join(chance.choices(MARKS, k=chance.randint(2, 4)))
        word = marks if chance.random() < MARKED else letters
        words[word.replace(" ", "Ġ").replace("\n", "Ċ")] = None
    tokenizer = Tokenizer(models.BPE({word: place for place, word in enumerate(words)}, []))
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["</s>"])
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>")
    return from_tokenizer(wrapped, eos_token=[WORDS - 1])


def walk(words: LLTokenizer, schema: dict[str, Any]) -> tuple[float, list[float]]:
    """Milliseconds to read the schema, and microseconds of each step of random walks."""
    grammar = of_schema(schema, "schema").text
    began = time.perf_counter()
    matcher = LLMatcher(words, grammar, log_level=0, limits=LIMITS)
    guide = Follower(matcher.deep_copy(), WORDS, [WORDS - 1])
    guide.allowed()
    read = 1e3 * (time.perf_counter() - began)
    draw, steps = torch.Generator().manual_seed(0), list[float]()
    while len(steps) < STEPS:
        began = time.perf_counter()
        allowed = guide.allowed()
        masked = time.perf_counter() - began
        token = int(torch.multinomial(allowed.float(), 1, generator=draw))
        began = time.perf_counter()
        if token != WORDS - 1:
            guide.hear(token)
        steps.append(1e6 * (masked + time.perf_counter() - began))
        if token == WORDS - 1 or guide.complete:
            guide = Follower(matcher.deep_copy(), WORDS, [WORDS - 1])
    return read, steps


def main() -> None:
    """Read the vocabulary, walk through every schema, print and save."""
    torch.set_num_threads(1)
    began = time.perf_counter()
    words = vocabulary()
    reading = time.perf_counter() - began
    rows, figures = [], {}
    for name, schema in SCHEMAS.items():
        read, steps = walk(words, schema)
        cut = statistics.quantiles(steps, n=100)
        figures[name] = {
            "read_ms": read,
            "step_us": cut[49],
            "step_us_99": cut[98],
            "step_us_most": max(steps),
        }
        rows.append([name, f"{read:.1f}", f"{cut[49]:.0f}", f"{cut[98]:.0f}", f"{max(steps):.0f}"])
    show(
        f"{WORDS:,} words read in {reading:.1f} s, making them included",
        ["schema", "read, ms", "step, us", "99 %", "most"],
        rows,
    )
    save("guides", {"vocabulary_seconds": reading, "schemas": figures})


if __name__ == "__main__":
    main()
