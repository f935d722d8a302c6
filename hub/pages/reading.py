"""Adapters and releases as their pages read them, seen by whom they may be seen."""

from dataclasses import dataclass
from functools import partial
from typing import Any

from django.core.cache import cache
from django.db.models import QuerySet
from django.utils.safestring import SafeString, mark_safe

from hub.accounts.models import User
from hub.adapters import gates
from hub.adapters.cards import LARGEST_CARD, README, Card, read_card
from hub.adapters.models import Adapter, CommitFile, Gates, Release
from hub.adapters.permissions import visible_adapters
from hub.blobs import services as blobs
from hub.errors import FindingJson, NotFound
from hub.library.permissions import Visitor
from hub.pages import cards, charts, curves

MOST_IN_PIPELINE = 20
FEWEST_LOSSES = 2  # make a curve
SPOKEN_MEASUREMENTS = {
    "neutral_loss_base": "Loss on neutral text, base alone",
    "neutral_loss_adapted": "Loss on neutral text, with this adapter",
    "sample_loss_base": "Loss on your samples, base alone",
    "sample_loss_adapted": "Loss on your samples, with this adapter",
    "sample_rows": "Sample rows",
}


@dataclass(frozen=True)
class Report:
    """What the checks found, errors apart from warnings."""

    errors: list[FindingJson]
    warnings: list[FindingJson]
    measurements: list[tuple[str, object]]


@dataclass(frozen=True)
class Expert:
    """An expert's statistics, ready to be drawn."""

    statistics: dict[str, Any]
    modules: list[tuple[str, dict[str, Any]]]
    spectrum: charts.LineChart | None
    norms: charts.HeatChart | None
    gates: Gates | None
    other_gates: list[Gates]

    @property
    def losses(self) -> list[tuple[int, float, float]]:
        """The gates' loss curve: step, loss on training rows, loss on held-out rows, in nats per token."""
        return [] if self.gates is None else [(step, one, two) for step, one, two in self.gates.curve]

    @property
    def loss_curve(self) -> charts.LineChart | None:
        """The same, drawn."""
        if len(self.losses) < FEWEST_LOSSES:
            return None
        steps, training, held_out = zip(*self.losses, strict=True)
        return curves.curve(
            [str(step) for step in steps], {"training rows": training, "held-out rows": held_out}
        )

    @property
    def best_loss(self) -> float | None:
        """The held-out loss of the gates that were kept."""
        return min((held_out for _step, _training, held_out in self.losses), default=None)


def adapter_called(owner: str, name: str, visitor: Visitor) -> Adapter:
    """Raises NotFound, also for what this visitor may not know of."""
    found = (
        visible_adapters(visitor)
        .select_related("owner", "library__current")
        .filter(owner__username=owner, name=name)
        .first()
    )
    if found is None:
        raise NotFound(f"There is no adapter {owner}/{name} here, or it is private.")
    return found


def releases_of(adapter: Adapter) -> QuerySet[Release]:
    """Newest first, without the heavy columns."""
    return (
        Release.objects.filter(adapter=adapter)
        .select_related("commit__author")
        .defer("statistics", "fingerprint", "findings", "measurements")
        .order_by("-number")
    )


def release_called(adapter: Adapter, oid: str) -> Release:
    """Raises NotFound."""
    found = _whole().filter(adapter=adapter, commit__oid=oid).first()
    if found is None:
        raise NotFound(f"{adapter.full_name} has no release {oid[:12]}.")
    return _with(adapter, found)


def in_pipeline(owner: User) -> list[Release]:
    """Releases of this account that the workers look at, the last first."""
    open_ones = [Release.Status.RECEIVED, Release.Status.VALIDATED]
    found = Release.objects.filter(adapter__owner=owner, adapter__deleted_at=None, status__in=open_ones)
    told = found.select_related("adapter", "commit__author").defer("statistics", "fingerprint")
    return list(told.order_by("-created_at", "-pk")[:MOST_IN_PIPELINE])


def newest_release(adapter: Adapter) -> Release | None:
    found = _whole().filter(adapter=adapter).order_by("-number").first()
    return _with(adapter, found) if found else None


def files_of(release: Release) -> list[CommitFile]:
    return list(release.commit.files.select_related("blob"))


def card_of(files: list[CommitFile]) -> tuple[Card, SafeString] | None:
    """The README among the files, parsed and rendered; kept by its digest, since bytes never change."""
    readme = next((file for file in files if file.path.lower() == README), None)
    if readme is None:
        return None
    return cache.get_or_set(f"card-{readme.blob_id}", partial(_render_card, readme), timeout=86_400)


def report_of(release: Release) -> Report:
    errors = [finding for finding in release.findings if finding["severity"] != "warning"]
    warnings = [finding for finding in release.findings if finding["severity"] == "warning"]
    measured = [(SPOKEN_MEASUREMENTS.get(name, name), value) for name, value in release.measurements.items()]
    return Report(
        errors, warnings, [(name, value) for name, value in measured if isinstance(value, int | float | str)]
    )


def expert_of(release: Release) -> Expert | None:
    modules = release.statistics.get("modules")
    if not modules:
        return None
    used = gates.in_use(release)
    return Expert(
        statistics=release.statistics,
        modules=list(modules.items()),
        spectrum=charts.spectrum(modules),
        norms=charts.norms(modules),
        gates=used,
        other_gates=[one for one in release.gates.order_by("-number") if one != used],
    )


def _whole() -> QuerySet[Release]:
    return Release.objects.select_related("commit__author", "samples").defer("fingerprint")


def _with(adapter: Adapter, release: Release) -> Release:
    release.adapter = adapter
    return release


def _render_card(readme: CommitFile) -> tuple[Card, SafeString]:
    data = b"".join(blobs.read(readme.blob, length=min(readme.blob.size, LARGEST_CARD + 1)))
    card = read_card(data)
    return card, mark_safe(cards.render(card.body))  # noqa: S308  sanitised there
