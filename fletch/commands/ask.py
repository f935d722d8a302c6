"""`fletch ask`."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Callable, Sequence
from typing import Any

import click

from fletch import options, screen
from fletch.account import account, address_of, named_hub
from fletch.asking import Answer, Serving
from fletch.command import Outcome
from fletch.command import command as make
from fletch.exits import CommandError, Exit
from fletch.hub import Hub
from fletch.passes import HubPass
from fletch.private import Private

LONGEST = 256  # tokens of an answer where nobody says more
ROUTING = ("version", "router", "top_k", "shortlist", "experts")


@make("ask")
@click.argument("library", metavar="LIBRARY")
@click.argument("prompt", required=False, metavar="[PROMPT]")
@options.hub
@click.option(
    "--serving",
    metavar="URL",
    help="The serving process; otherwise FLETCH_SERVING, or where the hub says it is.",
)
@click.option(
    "--chat",
    is_flag=True,
    help="As a conversation, by the base's chat template, instead of a text to continue.",
)
@click.option("--alone", metavar="OWNER/NAME|base", help="One expert alone, or the base alone.")
@click.option("--version", type=click.IntRange(1), help="An index version; otherwise the one that is served.")
@click.option("--router", metavar="NAME", help="How to route; otherwise as the library says.")
@click.option("--top-k", type=click.IntRange(1), help="Experts for each token and module.")
@click.option("--shortlist", type=click.IntRange(0), help="Narrow the whole prompt to so many experts first.")
@click.option(
    "--expert",
    "experts",
    multiple=True,
    metavar="OWNER/NAME",
    help="Choose among this one and others that are named.",
)
@click.option(
    "--private",
    "names",
    multiple=True,
    metavar="OWNER/NAME",
    help="Of your private adapters this one, and others that are named; all unless said.",
)
@click.option("--no-private", is_flag=True, help="Leave your private adapters out.")
@click.option(
    "--max-tokens",
    type=click.IntRange(1),
    help=f"The longest answer; unless said {LONGEST}, or half of what the base reads where that is less.",
)
@click.option(
    "--temperature",
    type=click.FloatRange(0, 2),
    default=0.0,
    help="0 unless said: always the likeliest token.",
)
@click.option("--seed", type=int, help="Of what chance decides.")
@click.option("--stop", multiple=True, metavar="TEXT", help="Where to stop; \\n is a new line.")
@click.pass_context
def command(ctx: click.Context, /, library: str, prompt: str | None, **said: Any) -> Outcome:
    """Ask the composed model of LIBRARY, and see who spoke.

    The prompt is the argument or, without one, what is piped in; on a terminal without either, a conversation
    begins, which ends with Ctrl-D. The answer goes to stdout as it comes, who spoke to stderr.

    Private adapters of yours, and those that you are invited to, are added for you alone.
    """
    hub = said.pop("hub")
    serving = Serving(
        serving_address(library, hub, said.pop("serving")),
        _private(library, hub, said.pop("names"), without=said.pop("no_private") or said["alone"] == "base"),
        hub_pass(library, hub),
    )
    chat, as_json = said.pop("chat"), ctx.meta["json"]
    if said["max_tokens"] is None:
        said["max_tokens"] = _room(serving, library)
    body = _body(library, said)
    say = (lambda _text: None) if as_json else _say
    if prompt is None and sys.stdin.isatty():
        return _conversation(serving, body, say, chat=chat)
    text = prompt if prompt is not None else sys.stdin.read()
    if not text:
        raise CommandError(Exit.USAGE, "found no prompt, expected one as an argument or on standard input")
    answer = _asked(serving, body, [{"role": "user", "content": text}], say, chat=chat)
    return Outcome(answer.to_json(), "")


def _asked(
    serving: Serving,
    body: dict[str, Any],
    turns: Sequence[dict[str, str]],
    say: Callable[[str], None],
    *,
    chat: bool,
) -> Answer:
    """One answer, said as it comes, and after it who spoke."""
    if chat:
        answer = serving.reply({**body, "messages": list(turns)}, say)
    else:
        answer = serving.complete({**body, "prompt": turns[-1]["content"]}, say)
    say("\n")
    screen.note(screen.harmless(answer.speakers))
    return answer


def _conversation(
    serving: Serving, body: dict[str, Any], say: Callable[[str], None], *, chat: bool
) -> Outcome:
    """Line by line. With --chat the model remembers what was said; without, each line stands alone."""
    turns: list[dict[str, str]] = []
    answers: list[Answer] = []
    if chat:  # nobody else knows it: what was said before is not read again for us, and for us alone
        body = {**body, "prompt_cache_key": secrets.token_hex(16)}
    while True:
        try:
            line = click.prompt("", prompt_suffix="> ", err=True)
        except click.Abort:
            screen.note("")
            return Outcome({"answers": [answer.to_json() for answer in answers]}, "")
        turns.append({"role": "user", "content": line})
        answers.append(_asked(serving, body, turns, say, chat=chat))
        turns.append({"role": "assistant", "content": answers[-1].text})


def _room(serving: Serving, library: str) -> int:
    """How long an answer may be that leaves room for its prompt."""
    context = serving.context(library)
    return LONGEST if context is None else max(1, min(LONGEST, context // 2))


def _body(library: str, said: dict[str, Any]) -> dict[str, Any]:
    """The request without what is asked."""
    routing = {name: said[name] for name in ROUTING if said[name] not in (None, ())}
    alone = said["alone"]
    return {
        "model": f"{library}/{alone}" if alone else library,
        "max_tokens": said["max_tokens"],
        "temperature": said["temperature"],
        **({"seed": said["seed"]} if said["seed"] is not None else {}),
        **({"stop": [stop.replace("\\n", "\n") for stop in said["stop"]]} if said["stop"] else {}),
        **({"routing": routing} if routing else {}),
    }


def serving_address(library: str, hub: str | None, serving: str | None) -> str:
    """What is named, else FLETCH_SERVING, else where the hub says that the library is served."""
    named = serving or os.environ.get("FLETCH_SERVING")
    if named:
        return address_of(named)
    return address_of(str(Hub(account(hub)).get(f"/libraries/{library}")["serving_url"]))


def hub_pass(library: str, hub: str | None) -> HubPass | None:
    """The pass to ask with, where a serving process wants one; None where nobody is signed in."""
    if named_hub(hub) is None:
        return None
    found = account(hub)
    return None if found.token is None else HubPass(Hub(found), library.partition("@")[0])


def _private(library: str, hub: str | None, names: Sequence[str], *, without: bool) -> Private | None:
    """The private experts to ask with; None where nobody is signed in, or they are not wanted."""
    if names and without:
        raise CommandError(
            Exit.USAGE,
            "--private names experts that --no-private and `--alone base` leave out; say one of them",
        )
    if without or (named_hub(hub) is None and not names):
        return None
    found = account(hub)
    if found.token is None and not names:
        return None
    return Private(Hub(found), library.partition("@")[0], names)


def _say(text: str) -> None:
    """As it is for a program or a file; a terminal is not to be steered."""
    sys.stdout.write(screen.harmless(text) if sys.stdout.isatty() else text)
    sys.stdout.flush()
