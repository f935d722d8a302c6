"""Searching by meaning: what it costs among 10,000 adapters beside a search by words, and how well it finds.

python -m bench.meaning [--adapters 10000] [--width 384] [--databases sqlite postgresql] [--postgres ADDRESS]
python -m bench.meaning --encoder FOLDER_OR_ID

Cost: processor time of the first page of a search, in this process, on each database; adapters as in bench.pages, with
vectors drawn by lot. With an encoder instead: how often the right one of the cards in bench/meaning_cards.toml comes first
for a query that shares no word with it, queries read by the encoder, by its table as the hub reads
them, and by the table with the cards read by it too.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import django
import numpy as np

from bench.pages import place
from bench.report import save, show

CARDS = Path(__file__).with_name("meaning_cards.toml")
BOILERPLATE = (
    " Rank 8, alpha 16, on q_proj and v_proj; trained with PEFT on 905 rows for three epochs. Licence apache-2.0. "
    "Use it with PeftModel.from_pretrained."
)
ASKED = "I am looking for an adapter that can help me with {}, please"
SOURCE = "/encoders/of-the-bench"
TOKENS = 30_000


def main() -> None:
    """Measure on each database in a process of its own, print the tables, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--adapters", type=int, default=10_000)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--databases", nargs="+", default=["sqlite", "postgresql"])
    parser.add_argument("--encoder", help="measure how well this one finds, and nothing else")
    parser.add_argument("--postgres", default="postgresql://postgres@127.0.0.1:5432/postgres")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(costs(options)))
        return
    if options.encoder:
        found = quality(options.encoder)
        show(
            "the right card of 48 for a query without a word of it",
            ["cards, queries", "queries read by", "first", "among ten", "mean reciprocal rank"],
            [
                [row["texts"], row["by"], f"{row['first']:.0%}", f"{row['ten']:.0%}", f"{row['mrr']:.3f}"]
                for row in found
            ],
        )
        save(
            f"meaning_found-{Path(options.encoder).name}",
            {"encoder": Path(options.encoder).name, "rows": found},
        )
        return
    rows = [cost_on(database, options) for database in options.databases]
    names = ("vectors", "words", "meaning", "first", "megabytes")
    show(
        f"{options.adapters:,} adapters, {options.width} wide; milliseconds of processor, median of {options.repeats}",
        ["database", "vectors alone", "page by words", "page by meaning", "first search", "MB held"],
        [[row["database"], *(f"{row[name]:.1f}" for name in names)] for row in rows],
    )
    save("meaning", {"adapters": options.adapters, "width": options.width, "rows": rows})


# ---------------------------------------------------------------- cost


def cost_on(database: str, options: argparse.Namespace) -> dict[str, Any]:
    """Django's settings are read once in a process."""
    with tempfile.TemporaryDirectory() as data, place(database, options.postgres) as url:
        done = subprocess.run(
            [sys.executable, "-m", "bench.meaning", "--one", *sys.argv[1:]],
            env={
                **os.environ,
                "FLETCH_DATA": data,
                "FLETCH_FREE_BYTES": "0",
                "FLETCH_SEARCH_ENCODER": SOURCE,
                "DJANGO_SETTINGS_MODULE": "hub.settings",
                **({"FLETCH_DATABASE_URL": url} if url else {}),
            },
            stdout=subprocess.PIPE,
            check=True,
        )
    return {"database": database, **json.loads(done.stdout.splitlines()[-1])}


def costs(options: argparse.Namespace) -> dict[str, float]:
    django.setup()
    from django.contrib.auth.models import AnonymousUser  # noqa: PLC0415  these need Django's settings
    from django.http import QueryDict  # noqa: PLC0415

    from bench import filled_shelves  # noqa: PLC0415
    from hub.search import meanings, nearness  # noqa: PLC0415
    from hub.search.asking import asked  # noqa: PLC0415
    from hub.search.finding import Found  # noqa: PLC0415

    shelf = filled_shelves.fill(options.adapters)
    plant(shelf.words, options.width)
    words = iter(
        np.random.default_rng(1).choice(list(shelf.words), size=(4 * options.repeats + 4, 2)).tolist()
    )

    def page(by: str) -> None:
        found = Found(AnonymousUser(), asked(QueryDict(f"q={'+'.join(next(words))}&by={by}")))
        assert (found.total, len(found.adapters[:30]), found.owners) is not None
        assert found.is_by_meaning == (by == "meaning"), found.note

    def vectors() -> None:
        table = meanings.current()
        assert table is not None
        assert nearness.nearest(table, " ".join(next(words))) is not None

    first = median(lambda: page("meaning"), 1)
    known = nearness.MEMORY.known(meanings.current())  # type: ignore[arg-type]
    return {
        "first": first,
        "vectors": median(vectors, options.repeats),
        "words": median(lambda: page("words"), options.repeats),
        "meaning": median(lambda: page("meaning"), options.repeats),
        "megabytes": (known.vectors.nbytes + known.pks.nbytes) / 1e6,
    }


def plant(words: Sequence[str], width: int) -> None:
    """A table of every word that occurs, and a vector for each adapter, drawn by lot."""
    from tokenizers import Tokenizer, models, pre_tokenizers  # noqa: PLC0415

    from hub.adapters.models import Adapter  # noqa: PLC0415
    from hub.blobs import services as blobs  # noqa: PLC0415
    from hub.search.models import Meaning, QueryTable  # noqa: PLC0415

    draw = np.random.default_rng(0)
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    with blobs.scratch_file() as rows, blobs.scratch_file() as tokens:
        with rows.open("wb") as file:
            np.save(file, draw.normal(size=(TOKENS, width)).astype("<f2"))
        tokens.write_text(tokenizer.to_str())
        table = QueryTable.objects.create(
            source=SOURCE,
            encoder="lot",
            width=width,
            recordings=1,
            vectors=blobs.store_file(rows),
            tokenizer=blobs.store_file(tokens),
        )
    pks = list(Adapter.objects.order_by("pk").values_list("pk", flat=True))
    drawn = draw.normal(size=(len(pks), width))
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    Meaning.objects.bulk_create(
        (
            Meaning(adapter_id=pk, table=table, vector=vector.astype("<f2").tobytes(), recording=1)
            for pk, vector in zip(pks, drawn, strict=True)
        ),
        batch_size=500,
    )


def median(work: Callable[[], None], repeats: int) -> float:
    """Milliseconds of this process's processor time."""
    times = []
    for _ in range(repeats):
        began = time.process_time()
        work()
        times.append(1000 * (time.process_time() - began))
    return float(np.median(times))


# ---------------------------------------------------------------- how well it finds


def quality(source: str) -> list[dict[str, Any]]:
    """How often the right card comes first, by the encoder for both, by its table for queries, and by words."""
    from routing.encoding import load_sentence_encoder  # noqa: PLC0415  torch, which the costs do without
    from routing.query_table import query_table  # noqa: PLC0415

    cards = tomllib.loads(CARDS.read_text())["card"]
    encoder = load_sentence_encoder(source, device="cpu")
    table = query_table(encoder).float().numpy()
    says = [f"{card['name'].replace('-', ' ')}. {card['says']}" for card in cards]
    asked = [card["asked"] for card in cards]
    rows = []
    for texts, documents, queries in (
        ("bare, short", says, asked),
        ("with boilerplate, short", [text + BOILERPLATE for text in says], asked),
        (
            "with boilerplate, wordy",
            [text + BOILERPLATE for text in says],
            [ASKED.format(one) for one in asked],
        ),
    ):
        read = encoder.embed(documents).numpy()
        rows += [
            {"texts": texts, "by": "the encoder", **judged(read, encoder.embed(queries).numpy())},
            {"texts": texts, "by": "its table", **judged(read, looked_up(encoder, table, queries))},
            {
                "texts": texts,
                "by": "its table, cards too",
                **judged(looked_up(encoder, table, documents), looked_up(encoder, table, queries)),
            },
        ]
    return rows


def looked_up(encoder: Any, table: np.ndarray, texts: Sequence[str]) -> np.ndarray:
    """The mean of the rows of each text's tokens."""
    tokens = [encoder.tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    return np.stack([table[ids].mean(0) for ids in tokens])


def judged(documents: np.ndarray, queries: np.ndarray) -> dict[str, float]:
    """Query i looks for document i."""
    near = unit(queries) @ unit(documents).T
    ranks = (near > near.diagonal()[:, None]).sum(1) + 1
    return {
        "first": float((ranks == 1).mean()),
        "ten": float((ranks <= 10).mean()),
        "mrr": float((1 / ranks).mean()),
    }


def unit(vectors: np.ndarray) -> np.ndarray:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


if __name__ == "__main__":
    main()
