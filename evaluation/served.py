"""A model that a running server answers for, as lm-evaluation-harness sees it.

Likelihoods are those of an echo: the server is sent context and continuation as one prompt, and told by
`routing.prior_tokens` where the context ends, so that the continuation decides nothing. The texts become
tokens here, in the way of lm_eval's own Hugging Face model, by the tokenizer of the server's base.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
from tqdm import tqdm

from evaluation.model import Scored
from evaluation.server import Body, Server

Tokens = list[int]
Asked = TypeVar("Asked")
Said = TypeVar("Said")
MOST_WRITTEN = 256  # tokens, where a task says nothing: what lm_eval's own model takes


class ServedLM(TemplateLM):
    """A library of a server (see `evaluation.server.Server`) for `lm_eval.simple_evaluate(model=...)`."""

    def __init__(
        self, server: Server, tokenizer: Any, *, max_length: int | None = None, at_once: int = 8
    ) -> None:
        super().__init__()
        self.server = server
        self.tokenizer = tokenizer
        # The server reads the last token of what it scores, too: its context holds one token less before it.
        self.max_length = max_length or server.context - 1
        self._at_once = at_once

    @property
    def eot_token_id(self) -> int:
        """What ends a text."""
        return int(self.tokenizer.eos_token_id)

    @property
    def prefix_token_id(self) -> int:
        """What a text without context begins with."""
        begins = self.tokenizer.bos_token_id
        return self.eot_token_id if begins is None else int(begins)

    @property
    def tokenizer_name(self) -> str:
        """A name for what lm_eval keeps of rendered requests."""
        return str(self.tokenizer.name_or_path).replace("/", "__")

    def tok_encode(
        self,
        string: str,
        add_special_tokens: bool | None = None,  # noqa: FBT001 - lm_eval's own signature, here and below
        **_options: Any,
    ) -> Tokens:
        """A text in the base's tokens; a text that begins with the token of beginnings gets no second one."""
        if add_special_tokens is None and string.startswith(self.tokenizer.decode([self.prefix_token_id])):
            add_special_tokens = False
        special = {} if add_special_tokens is None else {"add_special_tokens": add_special_tokens}
        return list(self.tokenizer.encode(string, **special))

    def apply_chat_template(
        self,
        chat_history: list[dict[str, str]],
        add_generation_prompt: bool = True,  # noqa: FBT001, FBT002
    ) -> str:
        """A conversation as the base's template writes it."""
        text = self.tokenizer.apply_chat_template(
            chat_history,
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=not add_generation_prompt,
        )
        return str(text)

    def _loglikelihood_tokens(
        self,
        requests: Sequence[Scored],
        disable_tqdm: bool = False,  # noqa: FBT001, FBT002
        **_options: Any,
    ) -> list[tuple[float, bool]]:
        """Of each continuation: its log probability, and whether each of its tokens was the likeliest."""
        found = []
        for request, scored in zip(requests, self._all(self._score, requests, disable_tqdm), strict=True):
            if request[0] is not None:
                self.cache_hook.add_partial("loglikelihood", request[0], scored)
            found.append(scored)
        return found

    def loglikelihood_rolling(
        self,
        requests: list[Instance],
        disable_tqdm: bool = False,  # noqa: FBT001, FBT002
    ) -> list[float]:
        """Of each whole text, in windows: no prompt chooses experts, as nothing comes before it."""
        found = []
        for request in tqdm(requests, disable=disable_tqdm):
            (text,) = request.args
            scored = self._loglikelihood_tokens(list(self._windows(text)), disable_tqdm=True)
            found.append(sum(likelihood for likelihood, _greedy in scored))
            self.cache_hook.add_partial("loglikelihood_rolling", (text,), found[-1])
        return found

    def generate_until(
        self,
        requests: list[Instance],
        disable_tqdm: bool = False,  # noqa: FBT001, FBT002
    ) -> list[str]:
        """Continue each context until one of its stop strings."""
        asked = [request.args for request in requests]
        found = []
        for (context, options), text in zip(
            asked, self._all(self._continue, asked, disable_tqdm), strict=True
        ):
            self.cache_hook.add_partial("generate_until", (context, options), text)
            found.append(text)
        return found

    def get_model_info(self) -> dict[str, Any]:
        """What lm_eval writes beside its results."""
        return {
            "url": self.server.url,
            "model": self.server.model,
            **self.server.said,
            "routing": self.server.routing,
        }

    def _windows(self, text: str) -> Iterator[Scored]:
        windows = get_rolling_token_windows(
            token_list=self.tok_encode(text),
            prefix_token=self.prefix_token_id,
            max_seq_len=self.max_length,
            context_len=1,
        )
        for context, continuation in map(make_disjoint_window, windows):
            yield None, context, continuation

    def _score(self, request: Scored) -> tuple[float, bool]:
        texts, context, continuation = request
        if not 0 < len(continuation) <= self.max_length:
            found = f"a continuation of {len(continuation)} tokens"
            raise ValueError(f"{found}, expected 1 to {self.max_length}: {texts}")
        prompt = [*context, *continuation][-(self.max_length + 1) :]
        begun = len(prompt) - len(continuation)
        body: Body = {"prompt": prompt, "max_tokens": 0, "echo": True, "logprobs": 1}
        said = self.server.complete(body, prior_tokens=0 if texts is None else begun)["logprobs"]
        likelihoods = said["token_logprobs"][begun:]
        best = [max(tops.values()) for tops in said["top_logprobs"][begun:]]
        return sum(likelihoods), all(one >= top for one, top in zip(likelihoods, best, strict=True))

    def _continue(self, request: tuple[str, dict[str, Any]]) -> str:
        context, given = request
        options = normalize_gen_kwargs(given, MOST_WRITTEN)
        stops = handle_stop_sequences(list(options["until"]), eos=self.tokenizer.decode([self.eot_token_id]))
        written = options["max_gen_toks"]
        room = self.max_length - written
        if room < 1:
            raise ValueError(f"max_gen_toks: found {written}, expected less than {self.max_length}")
        body: Body = {
            "prompt": self.tok_encode(context)[-room:],
            "max_tokens": written,
            "temperature": options.get("temperature", 0.0),
            "stop": [stop for stop in stops if stop],
        }
        return str(self.server.complete(body)["text"])

    def _all(
        self,
        answer: Callable[[Asked], Said],
        asked: Sequence[Asked],
        quiet: bool,  # noqa: FBT001
    ) -> Iterator[Said]:
        """Several at once, in order: the server takes its steps for all of them in turn."""
        with ThreadPoolExecutor(self._at_once) as threads:
            yield from tqdm(
                threads.map(answer, asked), total=len(asked), desc="asked of the server", disable=quiet
            )
