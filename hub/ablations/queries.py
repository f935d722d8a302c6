"""Looking at what experts contribute, seen by whom it may be seen."""

from django.db.models import QuerySet

from hub.ablations.models import Ablation, Contribution
from hub.adapters.models import Adapter
from hub.adapters.permissions import visible_adapters
from hub.errors import NotFound
from hub.indexes import queries as indexes
from hub.indexes.models import IndexMember, IndexVersion
from hub.library.permissions import Visitor, may_maintain

Ablations = QuerySet[Ablation, Ablation]
MOST_OF_A_VERSION = 50
HEAVY = ("findings", "statistics", "measurements", "fingerprint")


def ablation(ablation_id: int) -> Ablation:
    """Raises NotFound."""
    found = _listed().filter(pk=ablation_id).first()
    if found is None:
        raise NotFound(f"there is no ablation {ablation_id}")
    return found


def of_version(version: IndexVersion) -> list[Ablation]:
    """The newest first."""
    return list(_listed().filter(version=version)[:MOST_OF_A_VERSION])


def contributions(found: Ablation, visitor: Visitor) -> QuerySet[Contribution]:
    """Those of adapters that the visitor may know of, the largest gain first. There may be thousands."""
    rows = found.contributions.filter(release__adapter__in=visible_adapters(visitor).values("pk"))
    return rows.order_by("-gain", "pk")


def of_adapter(adapter: Adapter, most: int) -> list[Contribution]:
    """What was measured of its releases: for each file of rows the newest version's, the newest first."""
    rows = (
        Contribution.objects.filter(release__adapter=adapter)
        .select_related("ablation__version__library", "ablation__by", "release__commit")
        .defer(*(f"release__{name}" for name in HEAVY))
        .order_by("-ablation__version__number", "-ablation")
    )
    newest: dict[str, Contribution] = {}
    for row in rows[: most * 10]:
        newest.setdefault(row.ablation.rows_sha256, row)
    return list(newest.values())[:most]


def unmeasured(found: Ablation) -> list[IndexMember]:
    """The memberships that are still to be left out in turn, in the order of the manifest."""
    known = set(found.contributions.values_list("release", flat=True))
    chosen = set(found.chosen)
    return [
        member
        for member in indexes.members(found.version)
        if member.release_id not in known and (not chosen or member.release.adapter_id in chosen)
    ]


def note(found: Ablation, visitor: Visitor) -> str:
    """Why it ended early; what is wrong with rows is for those who may have sent them."""
    told = found.state != Ablation.State.REFUSED or may_maintain(visitor, found.version.library)
    return found.note if told else "these rows cannot be measured on"


def asked_for(found: Ablation) -> int:
    """How many experts are left out in turn."""
    return len(found.chosen) or found.version.expert_count


def is_under_way(ablation_id: int) -> bool:
    """Whether nobody cancelled it, and it is not settled."""
    return Ablation.objects.filter(pk=ablation_id, state=Ablation.State.REQUESTED).exists()


def _listed() -> Ablations:
    listed = Ablation.objects.select_related("version__library__current", "by", "rows_blob")
    return listed.defer("version__library__base_spec").order_by("-pk")
