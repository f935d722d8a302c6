"""The rows of a module's members one behind the other, wherever they lie."""

from __future__ import annotations

import torch

from routing.pack import ModulePack


def in_order(module: ModulePack) -> tuple[torch.Tensor, torch.Tensor]:
    """Of both halves, member by member: what does not depend on which versions share their memory."""
    rows = [module.rows_of(member) for member in range(len(module))]
    a, b = (torch.cat([half[mine] for mine in rows]) for half in (module.a, module.b))
    return a, b


def same_rows(one: ModulePack, other: ModulePack) -> bool:
    """Whether equal members have equal ranks and rows."""
    pairs = zip(in_order(one), in_order(other), strict=True)
    return (one.members, one.ranks) == (other.members, other.ranks) and all(
        torch.equal(mine, theirs) for mine, theirs in pairs
    )
