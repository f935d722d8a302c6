"""The base as its own router: which expert's description does it find likelier because of this prompt?

Language models that are asked to choose a tool are shown the prompt and the tools' descriptions. A base that
follows no instructions can be asked the same by likelihood: it continues the prompt with each description,
and what the prompt adds to the description's likelihood, per token, is the score.

The prompt is read once, and every description behind what was kept of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from routing.base import Base
from routing.family import Memory
from routing.ragged import Piece, Strand
from routing.routed import RoutedModel
from routing.turns import ANYBODY, Asker
from routing.work import PREFILL_CHUNK

BETWEEN = "\n\n"
NOBODY = "nothing in particular"
AT_ONCE = 128  # tokens of descriptions in one pass: it makes logits for each of them
Tokens = Sequence[int]


class Continuations:
    """Texts that prompts are continued with, in a base's tokens. Safe to use from threads.

    How likely each is behind no prompt is read when it is first asked for, and kept.
    """

    def __init__(self, model: RoutedModel, texts: Sequence[str]) -> None:
        self._model = model
        self._texts = _tokens(model.base, texts)
        self._batches = [*_batches(self._texts)]
        self._alone: dict[int, Float[Tensor, " texts"]] = {}  # by batch

    @property
    def tokens(self) -> int:
        """How many all texts have together."""
        return sum(map(len, self._texts))

    @property
    def unread(self) -> int:
        """How many tokens of texts the next prompt has read: all, and once more what was never read alone."""
        alone = (batch for place, batch in enumerate(self._batches) if place not in self._alone)
        return self.tokens + sum(len(text) for batch in alone for text in batch)

    @property
    def lengths(self) -> Float[Tensor, " texts"]:
        """How many tokens each text has: gains are in nats for a text of the mean of these."""
        return torch.tensor(
            [float(max(1, len(text))) for text in self._texts], device=self._model.base.device
        )

    @torch.inference_mode()
    def gains(self, prompt: Tokens, asker: Asker = ANYBODY) -> Float[Tensor, " texts"]:
        """What the prompt adds to the log-likelihood of each text, in nats for a text of mean length.

        (log p(text | prompt, template) - log p(text | template)) times mean length / length: a text that is
        likely anyhow gains nothing, and a long one no more than a short one. Left if the asker leaves.
        """
        added = self._behind(prompt, asker) - self._behind_nothing(asker)
        return added * self.lengths.mean() / self.lengths

    def _behind(self, prompt: Tokens, asker: Asker) -> Float[Tensor, " texts"]:
        begun = self._begun(prompt, asker)
        return torch.cat([begun.likelihoods(batch, asker) for batch in self._batches])

    def _behind_nothing(self, asker: Asker) -> Float[Tensor, " texts"]:
        """What was read for somebody who has left is not read again."""
        missing = [place for place in range(len(self._batches)) if place not in self._alone]
        if missing:
            begun = self._begun((), asker)
            for place in missing:
                self._alone[place] = begun.likelihoods(self._batches[place], asker)
        return torch.cat([self._alone[place] for place in range(len(self._batches))])

    def _begun(self, prompt: Tokens, asker: Asker) -> Begun:
        """What does not fit is cut from the beginning."""
        base, longest = self._model.base, max(map(len, self._texts))
        before = _asked(base, prompt)[-max(1, base.spec.context - longest) :]
        return begin(self._model, before, most=len(before) + longest, asker=asker)


@dataclass(frozen=True)
class Begun:
    """A beginning that was read once, for whatever may follow it. For one thread alone."""

    model: RoutedModel
    memory: Memory | Strand
    first: Float[Tensor, " vocabulary"]  # log-probabilities of the token behind it

    def likelihoods(self, texts: Sequence[Tokens], asker: Asker = ANYBODY) -> Float[Tensor, " texts"]:
        """Log p(text | beginning) of every text, in nats, float32; Left if the asker leaves."""
        found = torch.stack([self.first[text[0]] if text else self.first.new_zeros(()) for text in texts])
        if isinstance(self.memory, Strand) and sum(map(len, texts)) <= AT_ONCE:
            asker.require_here()
            return found + self._side_by_side(texts, self.memory)
        return found + torch.stack([self._by_itself(text, asker) for text in texts])

    def _side_by_side(self, texts: Sequence[Tokens], strand: Strand) -> Float[Tensor, " texts"]:
        """What comes of all tokens but the first of each text, in one pass.

        All write behind the beginning, at one place, where each is read before the next one comes, and none
        stays. That holds for pieces of several tokens; those of one are read at the same time.
        """
        ids, positions, rows, said, owners = list[int](), list[int](), list[int](), list[int](), list[int]()
        pieces = list[Piece]()
        for owner, text in enumerate(texts):
            if len(text) > 1:
                read = text if len(text) == 2 else text[:-1]  # noqa: PLR2004 - what follows the last is not asked
                start = len(ids)
                pieces.append(Piece(strand, slice(start, start + len(read))))
                ids += read
                positions += range(strand.length, strand.length + len(read))
                rows += range(start, start + len(text) - 1)
                said += text[1:]
                owners += [owner] * (len(text) - 1)
        found = self.first.new_zeros(len(texts))
        if rows:
            logits = self.model.run_pieces(ids, positions, pieces, [], rows)
            found.index_add_(0, torch.tensor(owners, device=found.device), _likely(logits, said).to(found))
        return found

    def _by_itself(self, text: Tokens, asker: Asker) -> Float[Tensor, ""]:
        """The same of one text, in as many passes as it takes; the beginning stays as it is."""
        found = self.first.new_zeros(())
        memory = self.memory if isinstance(self.memory, Strand) else self.memory.copy()
        length = memory.length if isinstance(memory, Strand) else 0
        try:
            for start in range(0, len(text) - 1, AT_ONCE):
                asker.require_here()
                said = text[start + 1 : start + 1 + AT_ONCE]
                logits = _every_logit(self.model, text[start : start + len(said)], memory)
                found = found + _likely(logits, said).sum().to(found)
        finally:
            if isinstance(memory, Strand):
                memory.length = length
        return found


def begin(model: RoutedModel, tokens: Tokens, *, most: int, asker: Asker = ANYBODY) -> Begun:
    """Read a beginning by the plain base, piece by piece; `most` says how long it and a text may be.

    Left if the asker leaves.
    """
    memory = model.new_memory(tokens, most=most)
    logits = torch.empty(0)
    for start in range(0, len(tokens), PREFILL_CHUNK):
        asker.require_here()
        part = tokens[start : start + PREFILL_CHUNK]
        if isinstance(memory, Strand):
            logits = _read(model, part, memory, [len(part) - 1])
        else:
            ids = torch.tensor([list(part)], device=model.base.device)
            logits = model.last_logits(ids, cache=memory)[0]
    return Begun(model, memory, logits[-1].float().log_softmax(-1).to(model.base.device))


def _every_logit(
    model: RoutedModel, tokens: Tokens, memory: Memory | Strand
) -> Float[Tensor, "tokens vocabulary"]:
    if isinstance(memory, Strand):
        return _read(model, tokens, memory, range(len(tokens)))
    return model.logits(torch.tensor([list(tokens)], device=model.base.device), cache=memory)[0]


def _read(
    model: RoutedModel, tokens: Tokens, strand: Strand, rows: Sequence[int]
) -> Float[Tensor, "rows vocabulary"]:
    """One pass that stays. No CUDA graph may do it: those are the thread's that answers."""
    piece = Piece(strand, slice(0, len(tokens)))
    positions = range(strand.length, strand.length + len(tokens))
    logits = model.run_pieces(tokens, positions, [piece], [], rows)
    piece.keep()
    return logits


def _likely(logits: Float[Tensor, "rows vocabulary"], said: Tokens) -> Float[Tensor, " rows"]:
    """The log-probability of what was said in each row; a softmax of all would take as much again."""
    logits = logits.float()
    chosen = logits.gather(1, torch.tensor(list(said), device=logits.device).unsqueeze(1)).squeeze(1)
    return chosen - logits.logsumexp(-1)


def _batches(texts: Sequence[Tokens]) -> Iterator[list[Tokens]]:
    """The texts in their order, of as many tokens as one pass reads; a longer text alone."""
    batch = list[Tokens]()
    for text in texts:
        if batch and sum(map(len, batch)) + len(text) > AT_ONCE:
            yield batch
            batch = []
        batch.append(text)
    if batch:
        yield batch


def _tokens(base: Base, texts: Sequence[str]) -> list[list[int]]:
    return [base.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"] for text in texts]


def _asked(base: Base, prompt: Tokens) -> list[int]:
    """The prompt and what comes between it and a description; something always comes before that."""
    between = base.tokenizer(BETWEEN, add_special_tokens=False, verbose=False)["input_ids"]
    beginning = base.tokenizer.bos_token_id
    return [*(prompt or ([] if beginning is None else [beginning])), *between]
