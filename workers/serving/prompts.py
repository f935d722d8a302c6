"""From a parsed body to generations: prompts as tokens, options with their defaults, limits held."""

from __future__ import annotations

from collections.abc import Sequence

from routing.chat import chat_stops
from routing.generation import Generation, Request
from routing.sampling import Sampling
from workers.serving.bodies import AnyBody, ChatBody, CompletionBody
from workers.serving.chat_prompts import chat_prompt
from workers.serving.errors import ApiError, invalid
from workers.serving.options import Limits
from workers.serving.targets import Target

COMPLETION_TOKENS = 16  # what OpenAI's completions give when nothing is said


def completion_generations(body: CompletionBody, target: Target, limits: Limits) -> list[Generation]:
    """A generation for each prompt and choice."""
    if body.echo and target.model.base.family.name != "causal":
        raise invalid("echo", "this base reads prompts with an encoder, and says nothing of their tokens")
    prompts = _prompts(body, target, limits)
    wanted = COMPLETION_TOKENS if body.max_tokens is None else body.max_tokens
    for prompt in prompts:
        _require_fit(prompt, wanted, target, limits, "prompt")
    return _generations(
        body, target, limits, prompts=prompts, max_tokens=wanted, logprobs=body.logprobs, stop=_stops(body)
    )


def chat_generations(body: ChatBody, target: Target, limits: Limits) -> list[Generation]:
    """A generation for each choice."""
    tokenizer = target.model.base.tokenizer
    prompt = tuple(chat_prompt(tokenizer, body.messages)) or _beginning(target, "messages")
    asked = body.max_completion_tokens or body.max_tokens
    room = _room(prompt, target, limits)
    _require_fit(prompt, asked or 1, target, limits, "messages")
    return _generations(
        body,
        target,
        limits,
        prompts=[prompt],
        max_tokens=asked or room,
        logprobs=(body.top_logprobs or 0) if body.logprobs else None,
        stop=(*_stops(body), *chat_stops(tokenizer)),
    )


def _generations(
    body: AnyBody,
    target: Target,
    limits: Limits,
    *,
    prompts: Sequence[tuple[int, ...]],
    max_tokens: int,
    logprobs: int | None,
    stop: tuple[str, ...],
) -> list[Generation]:
    choices = body.n or 1
    _require_few(len(prompts) * choices, limits)
    if len(stop) > limits.stop_strings or "" in stop:
        raise invalid("stop", f"expected at most {limits.stop_strings} strings, none of them empty")
    sampling = Sampling(
        1.0 if body.temperature is None else body.temperature,
        1.0 if body.top_p is None else body.top_p,
        body.seed,
    )
    if body.routing.trace:
        _require_small_trace(target, len(prompts) * choices, len(prompts[0]) + max_tokens, limits)
    ways = [target.way(_deciding(prompt, body)) for prompt in prompts]
    return [
        Generation(
            target.model,
            Request(
                prompt,
                max_tokens,
                route=way,
                sampling=sampling,
                stop=stop,
                logprobs=logprobs,
                echo=isinstance(body, CompletionBody) and bool(body.echo),
                trace=body.routing.trace,
                choice=choice,
                conversation=body.prompt_cache_key,
            ),
        )
        for prompt, way in zip(prompts, ways, strict=True)
        for choice in range(choices)
    ]


def _deciding(prompt: tuple[int, ...], body: AnyBody) -> tuple[int, ...]:
    """The part of a prompt that a prior reads: what comes behind it is an answer, and decides nothing."""
    count = body.routing.prior_tokens
    if count is not None and count > len(prompt):
        raise invalid(
            "routing.prior_tokens", f"found {count}, expected at most the prompt's {len(prompt)} tokens"
        )
    return prompt[:count]


def _prompts(body: CompletionBody, target: Target, limits: Limits) -> list[tuple[int, ...]]:
    """The prompts of a body, which may be a text, texts, tokens or lists of tokens."""
    given = body.prompt
    several = given if isinstance(given, list) and not (given and isinstance(given[0], int)) else [given]
    if not several:
        raise invalid("prompt", "expected at least one")
    _require_few(len(several) * (body.n or 1), limits)  # before any of them costs the tokenizer's time
    return [_tokens(one, target) or _beginning(target, "prompt") for one in several]


def _tokens(prompt: object, target: Target) -> tuple[int, ...]:
    base = target.model.base
    if isinstance(prompt, str):
        return tuple(base.tokenizer(prompt)["input_ids"])
    assert isinstance(prompt, list)
    if any(not 0 <= token < base.spec.vocabulary for token in prompt):
        raise invalid("prompt", f"expected tokens from 0 to {base.spec.vocabulary - 1}")
    return tuple(prompt)


def _beginning(target: Target, param: str) -> tuple[int, ...]:
    """An empty prompt is the beginning of a text, if the tokenizer has a token for that."""
    tokenizer = target.model.base.tokenizer
    token = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    if token is None:
        raise invalid(param, "found no token; this base has none to begin with")
    return (token,)


def _stops(body: AnyBody) -> tuple[str, ...]:
    if body.stop is None:
        return ()
    return (body.stop,) if isinstance(body.stop, str) else tuple(body.stop)


def _require_few(answers: int, limits: Limits) -> None:
    if answers > limits.choices:
        raise invalid("n", f"found {answers} answers, expected at most {limits.choices}")


def _require_fit(prompt: Sequence[int], max_tokens: int, target: Target, limits: Limits, param: str) -> None:
    context = min(target.model.base.spec.context, limits.prompt_tokens)
    if max_tokens > limits.max_tokens:
        raise invalid("max_tokens", f"found {max_tokens}, expected at most {limits.max_tokens}")
    family = target.model.base.family
    if family.length(prompt, range(max_tokens)) > context:
        bounded = "together" if family.name == "causal" else "of each"
        message = (
            f"{param}: found {len(prompt)} tokens and up to {max_tokens} more to write, "
            f"expected at most {context} {bounded}"
        )
        raise ApiError(400, message, code="context_length_exceeded", param=param)


def _room(prompt: Sequence[int], target: Target, limits: Limits) -> int:
    """How long an answer may become, when nothing is said of it."""
    base = target.model.base
    taken = base.family.length(prompt, range(base.spec.context)) - base.spec.context
    return max(1, min(base.spec.context - taken, limits.max_tokens))


def _require_small_trace(target: Target, answers: int, positions: int, limits: Limits) -> None:
    if answers > 1:
        raise invalid("routing.trace", "is given for one answer at a time; leave out `n` and further prompts")
    entries = 0 if target.route is None else positions * target.route.entries
    if entries > limits.trace_entries:
        raise invalid(
            "routing.trace", f"would have {entries} entries, expected at most {limits.trace_entries}"
        )
