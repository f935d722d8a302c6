"""`fletch bench`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from fletch import options, screen
from fletch.asking import Serving
from fletch.command import Outcome
from fletch.command import command as make
from fletch.commands.ask import hub_pass, serving_address
from fletch.exits import CommandError, Exit
from fletch.load import Load, put_on

QUESTION = (
    "Question {number}: what would you say of the number {number}, of the sea and of the {number} boats?"
)


@make("bench")
@click.argument("library", metavar="LIBRARY")
@options.hub
@click.option(
    "--serving",
    metavar="URL",
    help="The serving process; otherwise FLETCH_SERVING, or where the hub says it is.",
)
@click.option(
    "--requests", type=click.IntRange(1), default=64, help="How many answers to ask for; 64 unless said."
)
@click.option("--at-once", type=click.IntRange(1, 512), default=16, help="So many at a time; 16 unless said.")
@click.option("--max-tokens", type=click.IntRange(1), default=64, help="Of each answer; 64 unless said.")
@click.option(
    "--prompts",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A file with a prompt in each line, asked in turn; otherwise questions of about 25 words.",
)
@click.option("--router", metavar="NAME", help="How to route; otherwise as the library says.")
@click.option("--base", is_flag=True, help="The base alone: what routing costs is the difference.")
@click.option(
    "--chat", is_flag=True, help="Each question is a conversation, as the base's chat template says."
)
@click.option(
    "--let-end",
    is_flag=True,
    help="Let answers end by themselves; otherwise each is as long as --max-tokens, whoever writes it.",
)
def command(
    *,
    library: str,
    hub: str | None,
    serving: str | None,
    requests: int,
    at_once: int,
    prompts: Path | None,
    **said: Any,
) -> Outcome:
    """Put load on what serves LIBRARY, and say how fast it answers whom.

    Every answer is asked for as a stream, and is as long as allowed, so that a library and its base can be
    compared. What a serving process puts off, because of a limit of its own or of yours, is asked again when
    it says so, and where fewer at once are taken, fewer are asked for. Exit code 1 says that some were not
    answered in the end.
    """
    texts = _texts(prompts)
    body: dict[str, Any] = {
        "model": f"{library}/base" if said["base"] else library,
        "max_tokens": said["max_tokens"],
        "temperature": 0,
        **({} if said["let_end"] else {"ignore_eos": True}),
        **({"routing": {"router": said["router"]}} if said["router"] else {}),
    }
    asked = [texts[number % len(texts)].replace("{number}", str(number)) for number in range(requests)]
    bodies = [{**body, **_question(text, chat=said["chat"])} for text in asked]
    serves = Serving(serving_address(library, hub, serving), hub_pass=hub_pass(library, hub))
    with screen.steps("answers") as report:
        load = put_on(serves, bodies, at_once=min(at_once, requests), heard=report)
    return Outcome(
        load.to_json(), _said(load, min(at_once, requests)), Exit.NO if load.refusals else Exit.DONE
    )


def _texts(prompts: Path | None) -> list[str]:
    if prompts is None:
        return [QUESTION]
    lines = [line for line in prompts.read_text(encoding="utf-8").splitlines() if line]
    if not lines:
        raise CommandError(Exit.USAGE, f"{prompts}: found no line, expected a prompt in each")
    return lines


def _question(text: str, *, chat: bool) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}]} if chat else {"prompt": text}


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _said(load: Load, asked: int) -> str:
    """What came, in sentences; `asked` is how many at once were asked for."""
    found = load.to_json()
    answered, rate = found["answered"], found["completion_tokens_per_second"]
    lines = [f"{answered} of {found['requests']} answers in {load.seconds:.1f} s, {rate} tokens a second"]
    if answered:
        least, most = found["shortest_answer"], found["longest_answer"]
        lines.append(f"each answer has {f'{least} to {most}' if least < most else most} tokens")
    for name, about in (
        ("first_token", "to the first token"),
        ("between_tokens", "between tokens"),
        ("whole_answer", "for a whole answer"),
    ):
        if times := found[name]:
            lines.append(
                f"{about}: {times['p50']:.3f} s at the median, {times['p95']:.3f} s for 95 %, "
                f"{times['max']:.3f} s at most"
            )
    if load.at_once < asked:
        lines.append(f"{load.at_once} at once of the {asked} asked for: more were not taken")
    lines += [f"put off {_times(count)}: {screen.harmless(why)}" for why, count in load.put_off.items()]
    lines += [f"{count} refused: {screen.harmless(refusal)}" for refusal, count in load.refusals.items()]
    return "\n".join(lines)
