"""What somebody asks in a playground, and the request to a serving process that this comes down to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Mode = Literal["completion", "chat"]
Who = Literal["composed", "base", "expert"]
TRACE = "modules"
SHOWN = 600  # characters of a prompt before its answer


@dataclass(frozen=True)
class Turn:
    """One side of a conversation so far."""

    role: Literal["user", "assistant"]
    content: str

    @property
    def shown(self) -> str:
        """Without the white space around it."""
        return self.content.strip()

    def said(self) -> dict[str, str]:
        """As OpenAI's API writes it."""
        return {"role": self.role, "content": self.content}


@dataclass(frozen=True)
class Way:
    """Who answers, and how they are routed; what is None or empty is left to the library's policy."""

    who: Who = "composed"
    expert: str = ""
    version: int | None = None
    router: str = ""
    top_k: int | None = None
    softness: float | None = None
    shortlist: int | None = None
    prior: str = ""
    subtract: float | None = None
    experts: tuple[str, ...] = ()

    def model(self, library: str) -> str:
        """The name under which a serving process knows who answers."""
        if self.who == "base":
            return f"{library}/base"
        return f"{library}/{self.expert}" if self.who == "expert" else library

    @property
    def title(self) -> str:
        """Who answers, for a heading."""
        if self.who == "base":
            return "The plain base"
        if self.who == "expert":
            return self.expert
        version = f", version {self.version}" if self.version else ""
        return f"{f'Router {self.router}' if self.router else 'The composed model'}{version}"

    def routing(self) -> dict[str, Any]:
        """Fletch's own part of a request, without what the policy decides; the plain base is not routed."""
        if self.who == "base":
            return {}
        said: dict[str, Any] = {"version": self.version, "subtract": self.subtract}
        if self.who == "composed":
            said |= {
                "router": self.router or None,
                "top_k": self.top_k,
                "temperature": self.softness,
                "shortlist": self.shortlist,
                "prior": self.prior or None,
                "experts": list(self.experts) or None,
            }
        return {name: value for name, value in said.items() if value is not None}


@dataclass(frozen=True)
class Question:
    """What is asked of whoever answers."""

    prompt: str
    mode: Mode = "completion"
    system: str = ""
    max_tokens: int = 128
    temperature: float = 0.0
    seed: int | None = None

    @property
    def end(self) -> str:
        """The last lines of the prompt, which the answer goes on from."""
        cut = len(self.prompt) > SHOWN
        return "…" * cut + self.prompt[-SHOWN:]

    @property
    def path(self) -> str:
        """Where a serving process answers it."""
        return "/v1/chat/completions" if self.mode == "chat" else "/v1/completions"


@dataclass(frozen=True)
class Asked:
    """A question to one of those who are to answer, after the turns that they had."""

    library: str
    question: Question
    way: Way
    turns: Sequence[Turn] = field(default=())

    def body(self) -> dict[str, Any]:
        """The request, as anybody could send it."""
        question, routing = self.question, self.way.routing()
        said: dict[str, Any] = {"model": self.way.model(self.library)}
        said |= {"messages": self.messages()} if question.mode == "chat" else {"prompt": question.prompt}
        said |= {"max_tokens": question.max_tokens, "temperature": question.temperature}
        if question.seed is not None:
            said["seed"] = question.seed
        return {**said, "routing": routing} if routing else said

    def traced(self) -> dict[str, Any]:
        """The request of the playground, whose answer comes as a stream that says who speaks."""
        body = self.body()
        said: Mapping[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}
        if self.way.who == "base":
            return {**body, **said}
        return {**body, **said, "routing": {**body.get("routing", {}), "trace": TRACE}}

    def messages(self) -> list[dict[str, str]]:
        """The conversation with the newest question at its end."""
        opening = [{"role": "system", "content": self.question.system}] if self.question.system else []
        newest = Turn("user", self.question.prompt)
        return [*opening, *(turn.said() for turn in (*self.turns, newest))]
