"""Request bodies, parsed once at the edge. Unknown fields are refused: to ignore one is to answer wrongly."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from workers.serving.parts import Part, at_most

MOST_PROMPTS = 2048  # of one request, before anybody asks what it may have
MOST_MESSAGES = 8192
MOST_PAIRS = 16  # of metadata, as in OpenAI's API
MOST_BIASES = 1024
# A list is left at its first mistake: a body has room for a million of them.
Strings = Annotated[list[str], Field(fail_fast=True)]
Tokens = Annotated[list[int], Field(fail_fast=True)]
Prompts = Annotated[list[Tokens], Field(max_length=MOST_PROMPTS, fail_fast=True)]
Number = Annotated[float, Field(strict=False, allow_inf_nan=False)]
BriefTrace = Literal["tokens", "modules"]
BRIEF_TRACES: tuple[str, ...] = get_args(BriefTrace)
Bias = Annotated[Number, Field(ge=-100, le=100)]


def lacking(*values: object, why: str) -> AfterValidator:
    """Refuses what OpenAI's API knows and would be missed here, and says why."""

    def checked(value: object) -> object:
        if value in values:
            raise PydanticCustomError("lacking", "found {value}, {why}", {"value": repr(value), "why": why})
        return value

    return AfterValidator(checked)


class RoutingBody(Part):
    """Our own part of a request: how to route it. Fields left out are the library's policy."""

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
    trace: bool | BriefTrace = False


class StreamOptions(Part):
    """What a stream carries besides the answer."""

    include_usage: bool = False
    include_obfuscation: Annotated[
        bool | None, lacking(True, why="but no chunk is padded here; expected false")  # noqa: FBT003 - a value
    ] = None


class PlainFormat(Part):
    """Free text, or any JSON object."""

    type: Literal["text", "json_object"]


class NamedSchema(Part):
    """A JSON schema as OpenAI's API wraps it; a `strict` one is kept or refused, others as far as can be."""

    name: Annotated[str, Field(min_length=1, max_length=64)]
    description: str | None = None
    schema_: Annotated[dict[str, Any] | None, Field(alias="schema")] = None
    strict: bool | None = None


class JsonSchemaFormat(Part):
    """JSON that is valid under a schema."""

    type: Literal["json_schema"]
    json_schema: NamedSchema


class StructuredOutputs(Part):
    """Forms that OpenAI's API does not know, under the names that vLLM gave them. One of them."""

    json_: Annotated[dict[str, Any] | None, Field(alias="json")] = None
    regex: Annotated[str, Field(min_length=1, max_length=10_000)] | None = None
    choice: (
        Annotated[
            list[Annotated[str, Field(min_length=1)]], Field(min_length=1, max_length=1000, fail_fast=True)
        ]
        | None
    ) = None


ResponseFormat = Annotated[PlainFormat | JsonSchemaFormat, Field(discriminator="type")]


class AddressedBody(Part):
    """Who is asked, by whom, and how it is to be routed."""

    model: Annotated[str, Field(min_length=1, max_length=400)]
    user: str | None = None
    routing: RoutingBody = RoutingBody()


class EmbeddingBody(AddressedBody):
    """POST /v1/embeddings."""

    input: str | Strings | Tokens | Prompts
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Field(ge=1)] | None = None


class AnyBody(AddressedBody):
    """What both kinds of completion share.

    Options that we lack are accepted where they ask for nothing that an answer would show (docs/serve.md).
    """

    temperature: Annotated[Number, Field(ge=0, le=2)] | None = None
    top_p: Annotated[Number, Field(ge=0, le=1)] | None = None
    n: Annotated[int, Field(ge=1)] | None = None
    stop: str | Strings | None = None
    ignore_eos: bool | None = None
    seed: int | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    top_k: Annotated[int, Field(ge=-1)] | None = None
    min_p: Annotated[Number, Field(ge=0, le=1)] | None = None
    presence_penalty: Annotated[Number, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[Number, Field(ge=-2, le=2)] | None = None
    repetition_penalty: Annotated[Number, Field(ge=0.1, le=10)] | None = None
    logit_bias: Annotated[dict[str, Bias] | None, at_most(MOST_BIASES)] = None
    prompt_cache_key: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    prompt_cache_retention: Literal["in_memory", "in-memory", "24h"] | None = None
    safety_identifier: str | None = None
    metadata: Annotated[dict[str, str] | None, at_most(MOST_PAIRS)] = None
    store: Annotated[bool | None, lacking(True, why="but no answer is kept here; expected false")] = None  # noqa: FBT003
    service_tier: Annotated[
        Literal["auto", "default", "flex", "scale", "priority", "fast"] | None,
        lacking(
            "scale", "priority", "fast", why="but nobody is served first here; expected auto, default, flex"
        ),
    ] = None
    response_format: ResponseFormat | None = None
    structured_outputs: StructuredOutputs | None = None


class CompletionBody(AnyBody):
    """POST /v1/completions."""

    prompt: str | Strings | Tokens | Prompts
    max_tokens: Annotated[int, Field(ge=0)] | None = None
    logprobs: Annotated[int, Field(ge=0, le=5)] | None = None
    echo: bool | None = None
    best_of: Annotated[int, Field(ge=1, le=1)] | None = None
    suffix: None = None


class TextPart(Part):
    """A part of a message; only text can be read."""

    type: Literal["text"]
    text: str


class Called(Part):
    """The function that an assistant called; `arguments` is JSON."""

    name: Annotated[str, Field(min_length=1)]
    arguments: str
    parsed_arguments: Any = None  # where OpenAI's client keeps what it has read them as


class ToolCall(Part):
    """A call in a conversation so far."""

    id: str
    type: Literal["function"] = "function"
    function: Called
    index: int | None = None  # which a stream gave it


class Message(Part):
    """A turn of the conversation. What else clients keep in an answer's message is nothing here."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | Annotated[list[TextPart], Field(fail_fast=True)] | None = None
    name: str | None = None
    tool_calls: Annotated[list[ToolCall], Field(fail_fast=True)] | None = None
    tool_call_id: str | None = None
    refusal: None = None
    annotations: None = None
    audio: None = None
    function_call: None = None
    parsed: Any = None  # where OpenAI's client keeps what it has read the content as

    @property
    def text(self) -> str | None:
        """The content, its parts joined."""
        if self.content is None or isinstance(self.content, str):
            return self.content
        return "".join(part.text for part in self.content)


class Function(Part):
    """A function that may be called; `parameters` is a JSON schema."""

    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_.-]{1,64}$")]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(Part):
    """A tool; functions are the only ones."""

    type: Literal["function"]
    function: Function


class FunctionName(Part):
    """Which function."""

    name: str


class NamedTool(Part):
    """The tool that must be called."""

    type: Literal["function"]
    function: FunctionName


class AllowedTools(Part):
    """The only tools that may be called, and whether one must be."""

    mode: Literal["auto", "required"]
    tools: Annotated[list[NamedTool], Field(min_length=1, max_length=128, fail_fast=True)]


class AllowedToolChoice(Part):
    """Fewer tools than those of the request."""

    type: Literal["allowed_tools"]
    allowed_tools: AllowedTools


class Prediction(Part):
    """A guess of the answer, by which others are sooner done with it."""

    type: Literal["content"]
    content: str | Annotated[list[TextPart], Field(fail_fast=True)]


class ChatBody(AnyBody):
    """POST /v1/chat/completions."""

    messages: Annotated[list[Message], Field(min_length=1, max_length=MOST_MESSAGES, fail_fast=True)]
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    tools: Annotated[list[Tool], Field(max_length=128, fail_fast=True)] | None = None
    tool_choice: (
        Literal["none", "auto", "required"]
        | Annotated[NamedTool | AllowedToolChoice, Field(discriminator="type")]
        | None
    ) = None
    parallel_tool_calls: bool | None = None
    modalities: Annotated[list[Literal["text"]], Field(fail_fast=True)] | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    verbosity: Literal["low", "medium", "high"] | None = None
    prediction: Prediction | None = None
