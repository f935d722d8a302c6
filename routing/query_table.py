"""Query tables: what a sentence encoder makes of each token by itself. A few typed words become a vector near
its embeddings of whole texts, without the encoder.

A typed query has no grammar to speak of: the weighted mean of its tokens' rows points where the encoder's own
embedding of it would. The idea of such tables is model2vec's (Tulkens and van Dongen, 2024, "Model2Vec: Fast
State-of-the-Art Static Embeddings"); here only queries are read by the table, and texts by the encoder, so
rows stay in the encoder's own space and no dimension is cut.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from routing.encoding import SentenceEncoder
from routing.errors import UnsupportedEncoder

FORM = "table-1"  # another one where rows are made in another way
AT_ONCE = 512  # tokens
LETTER = "a"
Progress = Callable[[int, int], None]


def nobody(done: int, total: int) -> None:
    """Nobody waits to hear how far it is."""


def query_table(
    encoder: SentenceEncoder, *, progress: Progress = nobody
) -> Float[Tensor, "vocabulary width"]:
    """A row for each token of the encoder's vocabulary, float16 on the CPU: its embedding among the special
    tokens that the encoder puts around a text, less the mean of all tokens, times the root of 1 + id.

    Vocabularies are made with the frequent pieces first, so the weight says little of frequent ones (Zipf's
    law, in the place of counts nobody has). Special tokens say nothing, the unknown one among them: their
    rows are zero. Raises UnsupportedEncoder for an encoder whose embeddings are not finite.
    """
    before, after = _around(encoder)
    count = min(len(encoder.tokenizer), encoder.model.get_input_embeddings().num_embeddings)
    rows = []
    for start in range(0, count, AT_ONCE):
        progress(start, count)
        rows.append(_alone(encoder, range(start, min(start + AT_ONCE, count)), before, after))
    table = torch.cat(rows)
    table = (table - table.mean(0)) * torch.sqrt(1.0 + torch.arange(count)).unsqueeze(1)
    table[[token for token in encoder.tokenizer.all_special_ids if token < count]] = 0.0
    # one scale for all rows, so that float16 holds the largest entry: queries are scaled to length one anyway
    table = table / table.abs().max().clamp_min(torch.finfo(torch.float32).tiny)
    if not bool(torch.isfinite(table).all()):
        raise UnsupportedEncoder(
            f"{encoder.name}: found embeddings with NaN or infinity; expected finite ones"
        )
    return table.half()


def tokenizer_json(encoder: SentenceEncoder) -> str:
    """The encoder's tokenizer as the library `tokenizers` reads it. Raises UnsupportedEncoder."""
    backend = getattr(encoder.tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise UnsupportedEncoder(
            f"{encoder.name}: its tokenizer is a {type(encoder.tokenizer).__name__}; expected one that has a "
            "tokenizer.json"
        )
    return str(backend.to_str())


def _alone(
    encoder: SentenceEncoder, tokens: range, before: list[int], after: list[int]
) -> Float[Tensor, "tokens width"]:
    ids = torch.tensor([[*before, token, *after] for token in tokens], device=encoder.device)
    return encoder.means(ids, torch.ones_like(ids)).cpu()


def _around(encoder: SentenceEncoder) -> tuple[list[int], list[int]]:
    """The special tokens before and after a text."""
    bare = encoder.tokenizer(LETTER, add_special_tokens=False)["input_ids"]
    whole = encoder.tokenizer(LETTER)["input_ids"]
    for start in range(len(whole) - len(bare) + 1):
        if whole[start : start + len(bare)] == bare:
            return whole[:start], whole[start + len(bare) :]
    raise UnsupportedEncoder(
        f"{encoder.name}: found {whole} for a text of {bare}; expected the text among its special tokens"
    )
