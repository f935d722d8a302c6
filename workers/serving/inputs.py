"""Texts and tokens of requests as prompts that a base can read, and that fit."""

from __future__ import annotations

from collections.abc import Sequence

from workers.serving.bodies import AddressedBody
from workers.serving.errors import ApiError, invalid
from workers.serving.options import Limits
from workers.serving.targets import Target

Given = str | Sequence[str] | Sequence[int] | Sequence[Sequence[int]]


def several(given: Given, param: str) -> Sequence[str | Sequence[int]]:
    """The prompts of a field that may hold a text, texts, tokens or lists of tokens; ApiError if none."""
    if not given and not isinstance(given, str):
        raise invalid(param, "expected at least one")
    single = isinstance(given, str) or isinstance(given[0], int)
    return [given] if single else given  # type: ignore[list-item, return-value] # the kinds do not mix


def tokens_of(prompt: str | Sequence[int], target: Target, param: str) -> tuple[int, ...]:
    """A prompt in the base's tokens; ApiError for tokens that it has not."""
    base = target.model.base
    if isinstance(prompt, str):
        return tuple(base.tokenizer(prompt)["input_ids"])
    if any(not 0 <= token < base.spec.vocabulary for token in prompt):
        raise invalid(param, f"expected tokens from 0 to {base.spec.vocabulary - 1}")
    return tuple(prompt)


def beginning(target: Target, param: str) -> tuple[int, ...]:
    """An empty prompt is the beginning of a text, if the tokenizer has a token for that."""
    tokenizer = target.model.base.tokenizer
    token = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    if token is None:
        raise invalid(param, "found no token; this base has none to begin with")
    return (token,)


def deciding(prompt: tuple[int, ...], body: AddressedBody) -> tuple[int, ...]:
    """The part of a prompt that a prior reads: what comes behind it is an answer, and decides nothing."""
    count = body.routing.prior_tokens
    if count is not None and count > len(prompt):
        raise invalid(
            "routing.prior_tokens", f"found {count}, expected at most the prompt's {len(prompt)} tokens"
        )
    return prompt[:count]


def require_fit(prompt: Sequence[int], max_tokens: int, target: Target, limits: Limits, param: str) -> None:
    """ApiError for a prompt that is too long with what is to be written behind it."""
    context = context_of(target, limits)
    if max_tokens > limits.max_tokens:
        raise invalid("max_tokens", f"found {max_tokens}, expected at most {limits.max_tokens}")
    family = target.model.base.family
    more = f" and up to {max_tokens} more to write" if max_tokens else ""
    if family.length(prompt, range(max_tokens)) > context:
        bounded = (" together" if family.name == "causal" else " of each") if max_tokens else ""
        message = f"{param}: found {len(prompt)} tokens{more}, expected at most {context}{bounded}"
        raise ApiError(400, message, code="context_length_exceeded", param=param)
    most = longest(target, limits)
    if most is not None and len(prompt) + max_tokens > most:
        message = (
            f"{param}: found {len(prompt)} tokens{more}, which take {target.model.token_bytes} bytes of "
            f"memory each; answers have {limits.memory_megabytes} MiB, so expected at most {most} together"
        )
        raise ApiError(400, message, code="memory_exceeded", param=param)


def require_few_messages(messages: Sequence[object], target: Target, limits: Limits) -> None:
    """ApiError for more than there is room for where each is one token: before any is written or read."""
    context = context_of(target, limits)
    if len(messages) > context:
        message = (
            f"messages: found {len(messages)}, each of which takes a token or more, "
            f"expected at most {context} tokens in all"
        )
        raise ApiError(400, message, code="context_length_exceeded", param="messages")


def context_of(target: Target, limits: Limits) -> int:
    """How many tokens a prompt and its answer may have together, or each where the base reads them apart."""
    return min(target.model.base.spec.context, limits.prompt_tokens)


def longest(target: Target, limits: Limits) -> int | None:
    """How many tokens of one answer fit into the memory that all answers have; None if all do."""
    memory = limits.memory_bytes
    return None if memory is None else memory // max(1, target.model.token_bytes)
