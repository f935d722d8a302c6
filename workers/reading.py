"""READ_CARDS: let the hub's encoder read what adapters say, so that they are found by meaning.

One job reads everything that is due. What it has read is recorded as it goes: a worker that begins again
goes on where the last one stopped.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn.functional import normalize

from hub.adapters import history
from hub.adapters.models import Adapter
from hub.blobs.services import scratch_file
from hub.jobs import services as jobs
from hub.jobs.claims import Claim
from hub.search import describing, meanings
from hub.search.meanings import Read, Wanted
from hub.search.models import QueryTable
from routing.encoding import SentenceEncoder, load_sentence_encoder
from routing.errors import UnsupportedEncoder
from routing.query_table import FORM, query_table, tokenizer_json
from routing.spec import BaseRef
from workers.claiming import CannotBeDone

AT_ONCE = 64


def read_cards(claim: Claim) -> None:
    wanted = meanings.wanted()
    if wanted is None:
        jobs.log(claim, "FLETCH_SEARCH_ENCODER names no encoder, so nobody searches by meaning")
        return
    if meanings.current() is not None and not meanings.due(meanings.current()).exists():
        jobs.log(claim, "every card is read as it is")
        return
    try:
        encoder = load_sentence_encoder(
            BaseRef(wanted.source, wanted.revision or None),
            device="cuda" if torch.cuda.is_available() else "cpu",
        )
        table = table_of(claim, wanted, encoder)
    except UnsupportedEncoder as error:
        raise CannotBeDone(f"FLETCH_SEARCH_ENCODER: {error}") from error
    jobs.log(claim, f"cards are read by {wanted.source} ({encoder.name})")
    read_due(claim, table, encoder)
    meanings.settle(claim, table)


def table_of(claim: Claim, wanted: Wanted, encoder: SentenceEncoder) -> QueryTable:
    """The encoder's table of tokens; made where there is none. Raises UnsupportedEncoder."""
    name = f"{FORM}:{encoder.name}"
    known = meanings.current()
    if known is not None and known.encoder == name:
        return known

    def say(done: int, total: int) -> None:
        jobs.report_progress(claim, done, total, "asking what each token means")

    rows = query_table(encoder, progress=say)
    with scratch_file() as vectors, scratch_file() as tokenizer:
        with vectors.open("wb") as file:
            np.save(file, rows.numpy(), allow_pickle=False)
        tokenizer.write_text(tokenizer_json(encoder), encoding="utf-8")
        return meanings.record_table(
            claim, wanted, name=name, width=rows.shape[1], tokenizer=tokenizer, vectors=vectors
        )


def read_due(claim: Claim, table: QueryTable, encoder: SentenceEncoder) -> None:
    """Every card that is not read by this encoder as it is now, those of adapters that come meanwhile too."""
    done = 0
    while waiting := meanings.due(table).count():
        jobs.report_progress(claim, done, done + waiting, "reading cards")
        some = list(meanings.due(table).select_related("owner", "meaning").order_by("pk")[:AT_ONCE])
        meanings.record(claim, table, read(some, encoder))
        done += len(some)
    jobs.log(claim, f"read the cards of {done} adapters")


def read(adapters: Sequence[Adapter], encoder: SentenceEncoder) -> list[Read]:
    """What an encoder makes of adapters as they are now."""
    asked = [adapter.meaning.asked if hasattr(adapter, "meaning") else 0 for adapter in adapters]
    texts = [describing.meant(adapter, history.head(adapter)) for adapter in adapters]
    vectors = normalize(encoder.embed(texts), dim=1).cpu().numpy().astype("<f2")
    if not np.isfinite(vectors).all():
        raise CannotBeDone(f"FLETCH_SEARCH_ENCODER: {encoder.name} made embeddings with NaN or infinity")
    return [
        Read(adapter.pk, number, vector.tobytes())
        for adapter, number, vector in zip(adapters, asked, vectors, strict=True)
    ]
