"""Several orders made one, and adapters in an order that no column has."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

from django.db.models import QuerySet

from hub.adapters.models import Adapter

SMOOTHING = 60


def fused(*orders: Sequence[int]) -> list[int]:
    """Reciprocal rank fusion: by the sum of 1 / (60 + rank) over the orders that have one (Cormack, Clarke
    and Buettcher, SIGIR 2009, section 2; ranks begin with 1). Equals keep their place in the first order.
    """
    scores: dict[int, float] = {}
    for order in orders:
        for rank, pk in enumerate(order, start=1):
            scores[pk] = scores.get(pk, 0.0) + 1 / (SMOOTHING + rank)
    return sorted(scores, key=scores.__getitem__, reverse=True)  # which leaves equals in their order


@dataclass(frozen=True)
class Ranked(Sequence[Adapter]):
    """Adapters in the order of `pks`. Only those that somebody looks at are fetched.

    Where a database knows the order, `pks` is its question: databases sort whole rows, and of numbers alone
    they sort little, or read an index as far as one looks.
    """

    pks: Sequence[int] | QuerySet[Adapter, int]
    adapters: QuerySet[Adapter]

    def __len__(self) -> int:
        return self.pks.count() if isinstance(self.pks, QuerySet) else len(self.pks)

    @overload
    def __getitem__(self, wanted: int) -> Adapter: ...
    @overload
    def __getitem__(self, wanted: slice) -> list[Adapter]: ...
    def __getitem__(self, wanted: int | slice) -> Adapter | list[Adapter]:
        if isinstance(wanted, int):
            return self.adapters.get(pk=self.pks[wanted])
        pks = list(self.pks[wanted])
        found = {adapter.pk: adapter for adapter in self.adapters.filter(pk__in=pks)}
        return [found[pk] for pk in pks if pk in found]  # one may be deleted meanwhile
