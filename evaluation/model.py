"""A composed model as lm-evaluation-harness sees it: text in, likelihoods and continuations out.

lm_eval's own Hugging Face model does all that has nothing to do with routing (how a text is cut where context
and continuation meet, truncation from the left, padding, chat templates, its caches), so on the plain base
the two agree by construction. Here requests are sorted by how their prompts are routed, and each group
passes through the base by its route. Every token is routed by its own hidden state and padding is behind
what is read, or masked out, so what shares a batch changes nothing.
"""

from __future__ import annotations

from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from lm_eval.models.utils import normalize_gen_kwargs
from torch import Tensor

from evaluation.ways import Ways, in_groups
from routing.composed import GREEDY, ComposedModel
from routing.composed import answer as answered
from routing.generation import Request
from routing.layers import routed_by
from routing.routes import Route, Routing
from routing.traces import Record

Tokens = list[int]
Scored = tuple[
    tuple[str, str] | None, Tokens, Tokens
]  # texts (None in a rolling window), context, continuation


class ComposedLM(HFLM):
    """A composed model for `lm_eval.simple_evaluate(model=...)`; `routing` None is the plain base.

    `options` are those of lm_eval's HFLM that `evaluation.options.HARNESS` lists.
    """

    def __init__(self, model: ComposedModel, routing: Routing | None, **options: Any) -> None:
        base = model.routed.base
        options.setdefault("max_length", base.spec.context)
        super().__init__(pretrained=base.model, tokenizer=base.tokenizer, **options)
        self.composed = model
        self.routing = routing
        self._ways = Ways(model, routing)

    def _loglikelihood_tokens(
        self,
        requests: list[Scored],
        disable_tqdm: bool = False,  # noqa: FBT001, FBT002 - lm_eval's own signature, here and below
        override_bs: int | None = None,
    ) -> list[tuple[float, bool]]:
        """Of each continuation: its log probability, and whether each of its tokens was the likeliest."""
        parent: Any = super()

        def answer(way: Route | None, group: list[Scored]) -> list[tuple[float, bool]]:
            with routed_by(way):
                return parent._loglikelihood_tokens(group, disable_tqdm=True, override_bs=override_bs)  # noqa: SLF001

        # A rolling window has no prompt: whatever chose experts for it would know what it is to predict.
        prompts = [None if texts is None else context[-self.max_length :] for texts, context, _ in requests]
        return in_groups(requests, self._ways.groups(prompts), answer, quiet=disable_tqdm)

    def generate_until(
        self,
        requests: list[Instance],
        disable_tqdm: bool = False,  # noqa: FBT001, FBT002
    ) -> list[str]:
        """Continue each context until one of its stop strings."""
        parent: Any = super()

        def answer(way: Route | None, group: list[Instance]) -> list[str]:
            with routed_by(way):
                return parent.generate_until(group, disable_tqdm=True)

        prompts = [self._prompt(*request.args) for request in requests]
        return in_groups(requests, self._ways.groups(prompts), answer, quiet=disable_tqdm)

    def _model_generate(self, context: Tensor, max_length: int, stop: list[str], **options: Any) -> Tensor:
        """`max_gen_toks` tokens at most, by every family.

        lm_eval adds the padded context's length, which is right where a base writes behind it. A decoder
        begins from one token: it would write on by the longest context that shares its batch.
        """
        parent: Any = super()
        if self.backend == "seq2seq":
            max_length += 1 - context.shape[1]
        written: Tensor = parent._model_generate(context, max_length, stop, **options)  # noqa: SLF001
        return written

    def get_model_info(self) -> dict[str, Any]:
        """What lm_eval writes beside its results."""
        spec, pack = self.composed.routed.base.spec, self.composed.pack
        return {
            "base": spec.name,
            "base_digest": spec.digest,
            "experts": len(pack.experts),
            "routing": None if self.routing is None else vars(self.routing),
            "model_dtype": str(self.composed.routed.base.dtype),
        }

    def heard(self, context: str, continuation: str) -> Record | None:
        """Who is mixed while a context and what follows it are read; None where that is the plain base."""
        prompt, said = self._pair(context, continuation)
        way = self._ways.way(tuple(prompt))
        if way is None:
            return None
        if not said and self.backend == "seq2seq":
            said = [self.eot_token_id]  # a decoder that says nothing has read where it begins, and ended
        base, record = self.composed.routed.base, Record(way.pack)
        batch = base.family.batch(base.model, [(prompt, said)], base.device)
        self.composed.routed.run(batch.inputs, route=way, witness=record)
        return record

    def written(self, context: str, continuation: str) -> str:
        """What is written greedily after a context, as long as this continuation."""
        prompt, expected = self._pair(context, continuation)
        asked = Request(tuple(prompt), len(expected), route=self._ways.way(tuple(prompt)), sampling=GREEDY)
        return answered(self.composed.routed, asked).text

    def _pair(self, context: str, continuation: str) -> tuple[Tokens, Tokens]:
        """Both in tokens, cut where they meet as lm_eval cuts them; together they fit into the context."""
        if context:
            prompt, said = self._encode_pair(context, continuation)
        else:
            prompt, said = [self.prefix_token_id], self.tok_encode(continuation, add_special_tokens=False)
        said = said[: self.max_length - 1]
        return prompt[-(self.max_length - len(said)) :], said

    def _prompt(self, context: str, options: dict[str, Any]) -> Tokens:
        """The tokens of a context that generation reads: it keeps room for what it may write."""
        written = normalize_gen_kwargs(options, self.max_gen_toks)["max_gen_toks"]
        room = self.max_length - (written if self.backend == "causal" else 0)
        return self.tok_encode(context)[-room:] if room > 0 else self.tok_encode(context)
