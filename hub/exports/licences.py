"""Under which licences the experts of a checkpoint are, and what of that does not go together.

Licences are grouped by how their identifiers (of SPDX and of the Hugging Face hub) begin. It is no legal
advice, and says so where it is shown.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

UNKNOWN = "unknown"
UNSAID = {"", UNKNOWN, "other", "none"}
PERMISSIVE = (
    *("mit", "apache-2.0", "bsd", "isc", "cc0", "cc-by-2", "cc-by-3", "cc-by-4", "unlicense", "zlib", "pddl"),
    *("odc-by", "cdla-permissive", "wtfpl", "postgresql", "ecl", "ncsa", "ms-pl", "artistic", "afl", "bsl"),
)
SHARED_ALIKE = ("gpl", "lgpl", "agpl", "mpl", "epl", "eupl", "osl", "cc-by-sa", "odbl", "cdla-sharing")
BY_TERMS = (
    "openrail",
    "bigscience",
    "creativeml",
    "bigcode",
    "llama",
    "gemma",
    "apple-",
    "deepfloyd",
    "intel-",
)
RESEARCH = ("fair-noncommercial", "research", "lama-research")


class Group(StrEnum):
    """What a licence asks of whoever passes a work on, as roughly as a summary may say it."""

    NON_COMMERCIAL = "Not for commercial use"
    NO_CHANGES = "Not to be changed"
    SHARED_ALIKE = "Passed on under the same licence"
    BY_TERMS = "Use as its terms allow"
    PERMISSIVE = "Permissive"
    OTHER = "Others"
    UNSAID = "No licence said"


@dataclass(frozen=True)
class Summary:
    """Licences by group with the experts under each, and what whoever passes the whole on should know."""

    groups: Mapping[Group, Mapping[str, Sequence[str]]]
    warnings: Sequence[str]


@lru_cache(maxsize=1024)  # asked of each of thousands of experts, and licences are few
def group_of(licence: str) -> Group:
    name = licence.lower().strip()
    if name in UNSAID:
        return Group.UNSAID
    if "-nc" in name or name.startswith(RESEARCH) or "noncommercial" in name:
        return Group.NON_COMMERCIAL
    if "-nd" in name:
        return Group.NO_CHANGES
    kinds = (
        (Group.SHARED_ALIKE, SHARED_ALIKE),
        (Group.BY_TERMS, BY_TERMS),
        (Group.PERMISSIVE, PERMISSIVE),
    )
    return next((group for group, beginnings in kinds if name.startswith(beginnings)), Group.OTHER)


def summary(licences: Mapping[str, str], *, merged: bool) -> Summary:
    """Of the licence of each expert, by its full name. `merged`: whether they are changed into one work."""
    groups: dict[Group, dict[str, list[str]]] = {group: {} for group in Group}
    for expert, licence in sorted(licences.items()):
        said = UNKNOWN if group_of(licence) == Group.UNSAID else licence.lower().strip()
        groups[group_of(licence)].setdefault(said, []).append(expert)
    filled = {group: named for group, named in groups.items() if named}
    return Summary(filled, tuple(_warnings(filled, merged=merged)))


def _warnings(groups: Mapping[Group, Mapping[str, Sequence[str]]], *, merged: bool) -> Sequence[str]:
    found: dict[Group, str] = defaultdict(str)
    for group, named in groups.items():
        count = sum(len(experts) for experts in named.values())
        found[group] = f"{count:,} expert{'' if count == 1 else 's'} ({_some(named)})"
    said = []
    if close := found[Group.NON_COMMERCIAL]:
        said.append(f"{close}: not for commercial use, and so neither is the whole.")
    no_changes = any("-nd" in name for named in groups.values() for name in named)
    if merged and no_changes:
        said.append("Some may not be changed; a merge is a change of every part.")
    if alike := found[Group.SHARED_ALIKE]:
        said.append(f"{alike}: what is made of it is passed on under the same licence.")
        if close:
            said.append(
                "Those two do not go together: one asks that everybody may use the whole, the other that "
                "nobody does for money. Leave one of them out before you pass it on."
            )
    if terms := found[Group.BY_TERMS]:
        said.append(f"{terms}: their terms of use go with the whole.")
    if unsaid := found[Group.UNSAID]:
        said.append(f"{unsaid.partition(' (')[0]} without a licence: nobody said what may be done with it.")
    return said


def _some(named: Mapping[str, Sequence[str]]) -> str:
    names = sorted(named)
    return ", ".join(names[:3]) + (" and others" if len(names) > 3 else "")  # noqa: PLR2004
