"""Request bodies, parsed once at the edge. Unknown fields are refused: to ignore one is to answer wrongly."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Strict = ConfigDict(extra="forbid", frozen=True, strict=True)
# A list is left at its first mistake: a body has room for a million of them.
Strings = Annotated[list[str], Field(fail_fast=True)]
Tokens = Annotated[list[int], Field(fail_fast=True)]
Number = Annotated[float, Field(strict=False, allow_inf_nan=False)]


class RoutingBody(BaseModel):
    """Our own part of a request: how to route it. Fields left out are the library's policy."""

    model_config = Strict

    router: str | None = None
    top_k: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[Number, Field(gt=0)] | None = None
    experts: Annotated[Strings, Field(min_length=1)] | None = None
    force: Annotated[Strings, Field(min_length=1)] | None = None
    shortlist: Annotated[int, Field(ge=0)] | None = None
    calibrated: bool | None = None
    abstain: Number | None = None
    prior: str | None = None
    prior_weight: Annotated[Number, Field(ge=0)] | None = None
    prior_abstain: bool | None = None
    prior_tokens: Annotated[int, Field(ge=0)] | None = None
    general: Strings | None = None
    subtract: Annotated[Number, Field(ge=0)] | None = None
    version: Annotated[int, Field(ge=1)] | None = None
    trace: bool = False


class StreamOptions(BaseModel):
    """What a stream carries besides the answer."""

    model_config = Strict

    include_usage: bool = False


class AnyBody(BaseModel):
    """What both kinds of completion share. Options that we lack are accepted where they ask for nothing."""

    model_config = Strict

    model: Annotated[str, Field(min_length=1, max_length=400)]
    temperature: Annotated[Number, Field(ge=0, le=2)] | None = None
    top_p: Annotated[Number, Field(gt=0, le=1)] | None = None
    n: Annotated[int, Field(ge=1)] | None = None
    stop: str | Strings | None = None
    seed: int | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    presence_penalty: Annotated[Number, Field(ge=0, le=0)] | None = None
    frequency_penalty: Annotated[Number, Field(ge=0, le=0)] | None = None
    logit_bias: Annotated[dict[str, float], Field(max_length=0)] | None = None
    user: str | None = None
    prompt_cache_key: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    metadata: dict[str, str] | None = None
    routing: RoutingBody = RoutingBody()


class CompletionBody(AnyBody):
    """POST /v1/completions."""

    prompt: str | Strings | Tokens | Annotated[list[Tokens], Field(fail_fast=True)]
    max_tokens: Annotated[int, Field(ge=0)] | None = None
    logprobs: Annotated[int, Field(ge=0, le=5)] | None = None
    echo: bool | None = None


class TextPart(BaseModel):
    """A part of a message; only text can be read."""

    model_config = Strict

    type: Literal["text"]
    text: str


class Message(BaseModel):
    """A turn of the conversation."""

    model_config = Strict

    role: Literal["system", "developer", "user", "assistant"]
    content: str | Annotated[list[TextPart], Field(fail_fast=True)]
    name: str | None = None

    @property
    def text(self) -> str:
        """The content, its parts joined."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text for part in self.content)


class ResponseFormat(BaseModel):
    """Plain text is the only format."""

    model_config = Strict

    type: Literal["text"]


class ChatBody(AnyBody):
    """POST /v1/chat/completions."""

    messages: Annotated[list[Message], Field(min_length=1, fail_fast=True)]
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    response_format: ResponseFormat | None = None
