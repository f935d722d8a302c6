"""`fletch init`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

import click

from fletch import options, screen
from fletch.cards import CARD_FILE, LIBRARY, Card, read_card
from fletch.command import Outcome
from fletch.command import command as make
from fletch.exits import CommandError, Exit
from routing.config_document import read_document

PIPELINES = {"SEQ_2_SEQ_LM": "text2text-generation"}
BASE = "base_model"


@make("init")
@options.folder
@click.option(
    "--licence",
    "--license",
    "licence",
    required=True,
    metavar="ID",
    help="For example apache-2.0, mit, cc-by-4.0.",
)
@click.option(
    "--about",
    metavar="TEXT",
    help="What it does, in a sentence or two. It introduces the adapter to people and routers.",
)
@click.option("--library", metavar="NAME", help="The library that it is for.")
@click.option(
    "--base", metavar="ID", help="The base model; otherwise the one that adapter_config.json names."
)
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="May be given several times.")
@click.option("--name", metavar="NAME", help="Otherwise the folder's name.")
def command(
    *,
    folder: Path,
    licence: str,
    about: str | None,
    library: str | None,
    base: str | None,
    tags: Sequence[str],
    name: str | None,
) -> Outcome:
    """Write the card of the adapter in FOLDER: base, licence, tags, library.

    A text that you wrote stays as it is, as do facts that this command does not know; peft's empty template
    is replaced.
    """
    config, old = read_document(folder), read_card(folder)
    if not old.is_written and not about:
        raise CommandError(Exit.USAGE, "--about: found nothing, expected a sentence that says what it does")
    facts = {
        **old.facts,
        BASE: base or _base(config, old.facts),
        "library_name": "peft",
        "license": licence,
        "pipeline_tag": PIPELINES.get(str(config.get("task_type")), "text-generation"),
        "tags": _united(
            old.facts.get("tags"), ["ia3" if config.get("peft_type") == "IA3" else "lora", *tags]
        ),
        **({LIBRARY: library} if library else {}),
    }
    body = old.body if old.is_written else _body(name or folder.resolve().name, str(about), config)
    (folder / CARD_FILE).write_text(str(Card(facts, body)), encoding="utf-8")
    return Outcome({"card": str(folder / CARD_FILE), "facts": facts}, _text(folder / CARD_FILE, facts))


def _base(config: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    """The base's id. A path of this machine means nothing elsewhere, so only its last part is said."""
    named = facts.get(BASE) or config.get("base_model_name_or_path")
    if not isinstance(named, str) or not named.strip():
        raise CommandError(Exit.USAGE, "--base: adapter_config.json names no base; say which it is")
    if not (PurePath(named).is_absolute() or Path(named).is_dir()):
        return named
    short = PurePath(named).name
    screen.note(
        f"base_model: {named} is a place on this machine, so the card says {short}; --base says it better"
    )
    return short


def _united(old: object, new: Iterable[str]) -> list[str]:
    """Old and new tags, without those that peft derives from the base: they name places of this machine."""
    known = [old] if isinstance(old, str) else old if isinstance(old, list) else []
    kept = [tag for tag in map(str, known) if not tag.startswith("base_model:")]
    return list(dict.fromkeys([*kept, *new]))


def _body(name: str, about: str, config: Mapping[str, Any]) -> str:
    return f"# {name}\n\n{about.strip()}\n\n{_shape(config)}\n"


def _shape(config: Mapping[str, Any]) -> str:
    """What kind of adapter it is, in a sentence."""
    targets = config.get("target_modules")
    where = ", ".join(map(str, sorted(targets))) if isinstance(targets, list) else str(targets)
    if config.get("peft_type") == "IA3":
        return f"An (IA)^3 on {where}, trained with PEFT."
    kind = "DoRA" if config.get("use_dora") else "LoRA"
    alpha = f"{config.get('lora_alpha')}{' (rank-stabilised)' if config.get('use_rslora') else ''}"
    return f"A {kind} of rank {config.get('r')}, alpha {alpha}, on {where}, trained with PEFT."


def _text(path: Path, facts: Mapping[str, Any]) -> str:
    said = [
        f"  {name}: {', '.join(value) if isinstance(value, list) else value}" for name, value in facts.items()
    ]
    return screen.harmless("\n".join([f"written: {path}", *said]))
