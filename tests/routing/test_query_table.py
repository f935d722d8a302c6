"""Tables of what tokens mean to an encoder, by which queries are read without it."""

from __future__ import annotations

import pytest
import torch
from tokenizers import Tokenizer
from torch.nn.functional import cosine_similarity, normalize
from transformers import BertModel, PreTrainedTokenizerFast

from routing.encoding import SentenceEncoder, load_sentence_encoder
from routing.errors import UnsupportedEncoder
from routing.query_table import query_table, tokenizer_json
from tests.tiny import meaning_encoder, tiny_encoder

GROUPS = (
    ("letter", "correspondence", "mail"),
    ("polite", "formal", "courteous"),
    ("poem", "sonnet", "verse"),
    ("sum", "addition", "arithmetic"),
    ("write", "draft"),
)


@pytest.fixture(scope="module")
def encoder() -> SentenceEncoder:
    return load_sentence_encoder(meaning_encoder(*GROUPS), device="cpu")


def test_a_row_is_the_token_s_own_embedding_less_the_mean_and_says_more_of_rare_ones(
    encoder: SentenceEncoder,
) -> None:
    told = []
    table = query_table(encoder, progress=lambda done, total: told.append((done, total))).float()

    folder = meaning_encoder(*GROUPS)
    model, words = BertModel.from_pretrained(folder).eval(), PreTrainedTokenizerFast.from_pretrained(folder)
    with torch.no_grad():
        alone = torch.stack(
            [
                model(torch.tensor([[words.cls_token_id, token, words.sep_token_id]]))
                .last_hidden_state[0]
                .mean(0)
                for token in range(len(words))
            ]
        )
    expected = (alone - alone.mean(0)) * torch.arange(1, len(words) + 1).sqrt().unsqueeze(1)
    expected[:4] = 0  # special tokens
    assert table.shape == (len(words), 64)
    torch.testing.assert_close(table, expected / expected.abs().max(), atol=1e-3, rtol=1e-3)
    assert told == [(0, len(words))]


def test_a_query_of_other_words_is_nearest_to_the_text_that_means_the_same(encoder: SentenceEncoder) -> None:
    table, read = query_table(encoder).float(), Tokenizer.from_str(tokenizer_json(encoder))
    texts = ["draft formal correspondence", "sonnet verse", "addition arithmetic"]

    query = table[read.encode("write polite letter", add_special_tokens=False).ids].mean(0)

    near = cosine_similarity(normalize(encoder.embed(texts), dim=1), query.unsqueeze(0))
    assert near[0] > near[1:].max() + 0.2


def test_the_library_of_tokenizers_reads_the_tokenizer_as_transformers_does() -> None:
    encoder = load_sentence_encoder(tiny_encoder(), device="cpu")

    read = Tokenizer.from_str(tokenizer_json(encoder))

    text = "The ferry leaves at nine."
    assert read.encode(text).ids == encoder.tokenizer(text)["input_ids"]


def test_what_has_no_tokenizer_json_or_no_finite_numbers_is_said(encoder: SentenceEncoder) -> None:
    spoilt = load_sentence_encoder(meaning_encoder(*GROUPS), device="cpu")
    with torch.no_grad():
        spoilt.model.embeddings.word_embeddings.weight[5] = float("nan")

    with pytest.raises(UnsupportedEncoder, match="expected one that has a tokenizer"):
        tokenizer_json(SentenceEncoder("folder:1", encoder.model, object(), encoder.device))
    with pytest.raises(UnsupportedEncoder, match="NaN or infinity"):
        query_table(spoilt)
