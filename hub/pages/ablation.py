"""What each expert contributes, as the page of a version shows it: runs to choose from, a sorted table."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django import forms
from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.core.paginator import Paginator
from django.db.models import F, Max, Min, QuerySet
from django.http import HttpRequest

from hub.ablations import queries
from hub.ablations.models import NAME, Ablation, Contribution
from hub.errors import NotFound
from hub.indexes.models import IndexVersion
from hub.jobs.models import Job, JobKind
from hub.jobs.services import key_of
from hub.library.permissions import may_maintain
from hub.pages.leaderboard import Bar, bars

A_PAGE = 60
SHOWN = (
    *("ablation", "gain", "low", "high", "exact_gain", "heard"),
    *("release__adapter__name", "release__adapter__owner__username"),
)


@dataclass(frozen=True)
class Line:
    """One expert. `sign` says where its interval lies: above nought, below it, or around it."""

    row: Contribution
    bar: Bar

    @property
    def sign(self) -> str:
        if self.row.low > 0:
            return "up"
        return "down" if self.row.high < 0 else "around"


@dataclass(frozen=True)
class Column:
    """A heading by which the table is sorted: how it is now, and the address that sorts by it."""

    name: str
    title: str
    query: str
    order: str


KEYS = {
    "expert": ("release__adapter__owner__username", "release__adapter__name_key"),
    "gain": ("gain",),
    "exact": ("exact_gain", "gain"),
    "heard": ("heard", "gain"),
}
TITLES = {
    "expert": "Expert",
    "gain": "Contribution, 95 % interval",
    "exact": "Exact answers",
    "heard": "Heard on",
}
RISING = {"expert"}  # what begins at its least when it is first chosen; of figures the largest comes first


class MeasureForm(forms.Form):
    """Rows to measure on, and whom to leave out."""

    rows = forms.FileField(
        label="Rows",
        help_text='A .jsonl file, one <code>{"prompt": …, "completion": …}</code> or '
        '<code>{"messages": […]}</code> a line: what the library is for, and what nothing was trained on.',
        widget=forms.ClearableFileInput(attrs={"accept": ".jsonl,.json"}),
    )
    name = forms.CharField(
        label="What they are about",
        max_length=NAME,
        required=False,
        help_text="Shown beside the figures; otherwise it is the name of the file.",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )
    experts = forms.CharField(
        label="Only these experts",
        required=False,
        help_text="<code>owner/name</code>, one a line; every expert unless you name some.",
        widget=forms.Textarea(attrs={"rows": 3, "spellcheck": "false"}),
    )

    def names(self) -> list[str]:
        """The experts that were named."""
        said: str = self.cleaned_data["experts"]
        return said.replace(",", " ").split()

    def called(self) -> str:
        """What the rows are called."""
        given: UploadedFile[Any] = self.cleaned_data["rows"]
        return self.cleaned_data["name"] or given.name or ""


def contributions_page(request: HttpRequest, version: IndexVersion) -> dict[str, Any]:
    """Raises NotFound for a run that is not of this version."""
    runs = queries.of_version(version)
    run = _chosen(runs, request.GET.get("run"))
    maintains = may_maintain(request.user, version.library)
    return {
        "library": version.library,
        "version": version,
        "runs": runs,
        "run": run,
        "may_maintain": maintains,
        "form": MeasureForm() if maintains else None,
        "limits": settings.LIMITS,
        **({} if run is None else _table(request, run)),
        **({} if run is None else progress(run)),
    }


def progress(run: Ablation) -> dict[str, Any]:
    """How far a run is, fetched again while it is under way."""
    key = key_of(JobKind.ABLATE, {"ablation_id": run.pk})
    return {"run": run, "job": Job.objects.filter(key=key).order_by("-pk").first()}


def _table(request: HttpRequest, run: Ablation) -> dict[str, Any]:
    """Thousands of experts may be measured: the database sorts them, and gives those of one page."""
    rows = queries.contributions(run, request.user)
    ends = rows.order_by().aggregate(low=Min("low"), high=Max("high"))
    said = request.GET.get("sort", "-gain")
    sort = said if said.removeprefix("-") in KEYS else "-gain"
    page = Paginator(_sorted(rows, sort), A_PAGE).get_page(request.GET.get("page"))
    drawn = bars([(row.low, row.high, row.gain) for row in page], (ends["low"] or 0.0, ends["high"] or 0.0))
    return {
        "page": page,
        "lines": [Line(row, bar) for row, bar in zip(page, drawn, strict=True)],
        "more": f"&run={run.pk}&sort={sort}",
        "columns": [_column(name, sort, run) for name in KEYS],
        "asked": queries.asked_for(run),
        "measured": run.contributions.count(),
        "note": queries.note(run, request.user),
    }


def _sorted(rows: QuerySet[Contribution], sort: str) -> QuerySet[Contribution]:
    order = [F(key).desc() if sort.startswith("-") else F(key).asc() for key in KEYS[sort.removeprefix("-")]]
    shown = rows.select_related("release__adapter__owner").only(*SHOWN)
    return shown.order_by(*order, "pk")


def _column(name: str, sort: str, run: Ablation) -> Column:
    now = sort.removeprefix("-") == name
    falls = sort.startswith("-") if now else False
    next_sort = name if (falls if now else name in RISING) else f"-{name}"
    order = ("descending" if falls else "ascending") if now else ""
    return Column(name, TITLES[name], f"run={run.pk}&sort={next_sort}", order)


def _chosen(runs: Sequence[Ablation], said: str | None) -> Ablation | None:
    """The newest where none is named."""
    if said is None:
        return runs[0] if runs else None
    for run in runs:
        if str(run.pk) == said:
            return run
    raise NotFound("There is no such measurement of this version.")
