"""The serving process as the demonstration uses it: the OpenAI completions API and Fletch's own fields."""

from dataclasses import dataclass
from typing import Any

import httpx

from demo.tasks import MAX_TOKENS, STOP

TIMEOUT = 120.0


@dataclass(frozen=True)
class Answer:
    """A completion, the index version that gave it, and each expert's share of the mixing weights."""

    text: str
    version: int
    shares: dict[str, float]

    @property
    def speakers(self) -> str:
        """The three loudest experts, for people."""
        loudest = sorted(self.shares.items(), key=lambda item: -item[1])[:3]
        return ", ".join(f"{name.split('/')[-1]} {share:.0%}" for name, share in loudest if share >= 0.005)


@dataclass(frozen=True)
class Serving:
    """The served models of one library."""

    address: str
    library: str

    def ask(self, prompt: str, *, model: str | None = None) -> Answer:
        """One greedy answer, of the composed model unless another is named."""
        body = self._body(prompt, model)
        return _answer(httpx.post(f"{self.address}/v1/completions", json=body, timeout=TIMEOUT))

    def serves(self, version: int) -> bool:
        """Whether this version of the library is loaded."""
        models = _checked(httpx.get(f"{self.address}/v1/models", timeout=TIMEOUT))["data"]
        return any(model["id"] == f"{self.library}@{version}" for model in models)

    def prompt_logprobs(self, prompt: str, *, version: int) -> list[float]:
        """The log-probability of each token of the prompt but the first, as the served model sees it."""
        body = {
            **self._body(prompt, f"{self.library}@{version}"),
            "max_tokens": 0,
            "echo": True,
            "logprobs": 1,
        }
        answer = _checked(httpx.post(f"{self.address}/v1/completions", json=body, timeout=TIMEOUT))
        values = answer["choices"][0]["logprobs"]["token_logprobs"]
        return [float(value) for value in values[1:]]

    def _body(self, prompt: str, model: str | None) -> dict[str, Any]:
        return {
            "model": model or self.library,
            "prompt": prompt,
            "max_tokens": MAX_TOKENS,
            "temperature": 0,
            "stop": STOP,
        }


class ServingRefused(Exception):
    """The serving process answered with an error; the message is its own."""


def _checked(response: httpx.Response) -> dict[str, Any]:
    if response.is_error:
        raise ServingRefused(f"{response.request.url.path}: {response.status_code} {response.text[:600]}")
    return dict(response.json())


def _answer(response: httpx.Response) -> Answer:
    body = _checked(response)
    shares = {row["adapter"]: row["share"] for row in body["fletch"].get("experts", ())}
    return Answer(body["choices"][0]["text"].strip(), body["fletch"].get("version") or 0, shares)
