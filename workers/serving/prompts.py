"""From a parsed body to generations: prompts as tokens, options with their defaults, limits held."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from routing.chat import chat_stops
from routing.generation import Generation, Request
from workers.serving.bodies import BRIEF_TRACES, AnyBody, ChatBody, CompletionBody
from workers.serving.chat_prompts import chat_prompt
from workers.serving.errors import invalid
from workers.serving.formats import form_of
from workers.serving.guides import Grammar, Guides
from workers.serving.inputs import (
    beginning,
    context_of,
    deciding,
    longest,
    require_few_messages,
    require_fit,
    several,
    tokens_of,
)
from workers.serving.options import Limits
from workers.serving.samplings import sampling_of
from workers.serving.targets import Target
from workers.serving.tools import ends_of, held_calls, offered

COMPLETION_TOKENS = 16  # what OpenAI's completions give when nothing is said


@dataclass(frozen=True)
class _Wanted:
    """What both kinds of bodies come down to; `ends` are stop strings that the base itself has need of."""

    prompts: Sequence[tuple[int, ...]]
    max_tokens: int
    logprobs: int | None
    form: Grammar | None
    ends: tuple[str, ...] = ()


def answers_of(body: AnyBody, limits: Limits) -> int:
    """How many answers a body asks for; ApiError where these are more than any request may."""
    prompts = len(several(body.prompt, "prompt")) if isinstance(body, CompletionBody) else 1
    answers = prompts * (body.n or 1)
    _require_few(answers, limits)
    return answers


def completion_generations(
    body: CompletionBody, target: Target, limits: Limits, guides: Guides
) -> list[Generation]:
    """A generation for each prompt and choice."""
    if body.echo and target.model.base.family.name != "causal":
        raise invalid("echo", "this base reads prompts with an encoder, and says nothing of their tokens")
    prompts = _prompts(body, target, limits)
    length = COMPLETION_TOKENS if body.max_tokens is None else body.max_tokens
    for prompt in prompts:
        require_fit(prompt, length, target, limits, "prompt")
    return _generations(body, _Wanted(prompts, length, body.logprobs, form_of(body)), target, limits, guides)


def chat_generations(body: ChatBody, target: Target, limits: Limits, guides: Guides) -> list[Generation]:
    """A generation for each choice."""
    require_few_messages(body.messages, target, limits)
    tokenizer = target.model.base.tokenizer
    tools = offered(body, tokenizer)
    if body.top_logprobs and not body.logprobs:
        raise invalid("top_logprobs", f"found {body.top_logprobs}, expected with `logprobs` alone")
    prompt = tuple(chat_prompt(tokenizer, body.messages, tools, _wishes(body)))
    prompt = prompt or beginning(target, "messages")
    asked = body.max_completion_tokens or body.max_tokens
    require_fit(prompt, asked or 1, target, limits, "messages")
    wanted = _Wanted(
        [prompt],
        asked or _room(prompt, target, limits),
        (body.top_logprobs or 0) if body.logprobs else None,
        held_calls(body, target.model, guides) or form_of(body),
        (*(() if body.ignore_eos else chat_stops(tokenizer)), *ends_of(body)),
    )
    return _generations(body, wanted, target, limits, guides)


def _wishes(body: ChatBody) -> dict[str, str]:
    """What only a model can heed that was trained to: its chat template reads it, or nobody does."""
    said = {"reasoning_effort": body.reasoning_effort, "verbosity": body.verbosity}
    return {name: value for name, value in said.items() if value is not None}


def _generations(
    body: AnyBody, wanted: _Wanted, target: Target, limits: Limits, guides: Guides
) -> list[Generation]:
    prompts, choices = wanted.prompts, body.n or 1
    count = len(prompts) * choices
    _require_few(count, limits)
    stop, sampling = _stops(body, wanted, limits), sampling_of(body, target.model.base.spec.vocabulary)
    _require_small_trace(body, wanted, target, limits)
    form = wanted.form
    followers = iter([None] * count if form is None else guides.begin(form, target.model, count))
    ways = target.ways([deciding(prompt, body) for prompt in prompts])
    return [
        Generation(
            target.model,
            Request(
                prompt,
                wanted.max_tokens,
                route=way,
                sampling=sampling,
                stop=stop,
                ignore_ends=bool(body.ignore_eos),
                logprobs=wanted.logprobs,
                echo=isinstance(body, CompletionBody) and bool(body.echo),
                trace=body.routing.trace is True,
                voices=body.routing.trace in BRIEF_TRACES,
                choice=choice,
                conversation=body.prompt_cache_key,
            ),
            guide=next(followers),
            uses=None if target.version is None else target.version.uses,
        )
        for prompt, way in zip(prompts, ways, strict=True)
        for choice in range(choices)
    ]


def _prompts(body: CompletionBody, target: Target, limits: Limits) -> list[tuple[int, ...]]:
    """The prompts of a body, which may be a text, texts, tokens or lists of tokens."""
    given = several(body.prompt, "prompt")
    _require_few(len(given) * (body.n or 1), limits)  # before any of them costs the tokenizer's time
    return [tokens_of(one, target, "prompt") or beginning(target, "prompt") for one in given]


def _stops(body: AnyBody, wanted: _Wanted, limits: Limits) -> tuple[str, ...]:
    """What cuts an answer off; one whose form is prescribed has no need of the base's own `ends`."""
    given = body.stop or ()
    stop = (body.stop,) if isinstance(body.stop, str) else tuple(given)
    if len(stop) > limits.stop_strings or "" in stop:
        raise invalid("stop", f"expected at most {limits.stop_strings} strings, none of them empty")
    longest_one = max(map(len, stop), default=0)
    if longest_one > limits.stop_characters:
        message = f"found {longest_one} characters in a string, expected at most {limits.stop_characters}"
        raise invalid("stop", message)
    if wanted.form is not None and body.ignore_eos:
        message = f"the answer ends where its form does; leave out this or {wanted.form.param}"
        raise invalid("ignore_eos", message)
    return (*stop, *wanted.ends) if wanted.form is None or wanted.form.spoken else stop


def _require_few(answers: int, limits: Limits) -> None:
    if answers > limits.answers:
        raise invalid("n", f"found {answers} answers, expected at most {limits.answers}")


def _room(prompt: Sequence[int], target: Target, limits: Limits) -> int:
    """How long an answer may become, when nothing is said of it."""
    context = context_of(target, limits)
    taken = target.model.base.family.length(prompt, range(context)) - context
    most = longest(target, limits)
    fitting = limits.max_tokens if most is None else most - len(prompt)
    return max(1, min(context - taken, limits.max_tokens, fitting))


def _require_small_trace(body: AnyBody, wanted: _Wanted, target: Target, limits: Limits) -> None:
    """Who leads at each token is little; what every module chose is bounded."""
    asked, answers = body.routing.trace, len(wanted.prompts) * (body.n or 1)
    if asked is True and answers > 1:
        raise invalid("routing.trace", "is given for one answer at a time; leave out `n` and further prompts")
    if target.route is None or asked in (False, "tokens"):
        return
    if asked is True:
        tokens, most = len(wanted.prompts[0]) + wanted.max_tokens, limits.trace_entries
        entries = tokens * target.route.entries
    else:
        tokens, most = answers * wanted.max_tokens, limits.brief_entries
        entries = tokens * len(target.route.seats)
    if entries > most:
        raise invalid(
            "routing.trace",
            f"would have {entries} entries, expected at most {most}: ask for fewer tokens (`max_tokens`)",
        )
