"""Notifications as their pages show them: by day, and as a table of choices."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from itertools import groupby
from typing import Any

from django import forms
from django.forms import BoundField

from hub.notifications.models import Kind, Notification
from hub.notifications.queries import Ways

WAYS = {"in_page": "On this hub", "by_email": "By email"}


def by_day(news: Iterable[Notification]) -> list[tuple[date, list[Notification]]]:
    """Those of one day together, in the order they come."""
    return [(day, list(group)) for day, group in groupby(news, key=lambda one: one.created_at.date())]


@dataclass(frozen=True)
class Row:
    """One kind, and a box for each way."""

    label: str
    boxes: list[BoundField]


class PreferencesForm(forms.Form):
    """A box for each kind and way."""

    def __init__(self, *args: Any, known: Mapping[Kind, Ways], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for kind, ways in known.items():
            for way, said in WAYS.items():
                self.fields[f"{kind.value}-{way}"] = forms.BooleanField(
                    label=f"{kind.label}: {said.lower()}", required=False, initial=getattr(ways, way)
                )

    def rows(self) -> Iterator[Row]:
        for kind in Kind:
            yield Row(kind.label, [self[f"{kind.value}-{way}"] for way in WAYS])

    def wishes(self) -> dict[Kind, Ways]:
        said = self.cleaned_data
        return {kind: Ways(**{way: said[f"{kind.value}-{way}"] for way in WAYS}) for kind in Kind}
