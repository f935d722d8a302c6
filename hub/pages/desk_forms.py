"""What maintainers type at their desk, and what people type who report something."""

from django import forms

from hub.limits import GIB
from hub.reports.models import Report
from hub.reports.services import LONGEST

MOST_GIB = 1_000_000


class ReportForm(forms.Form):
    reason = forms.ChoiceField(
        label="What is wrong?", choices=Report.Reason.choices, widget=forms.RadioSelect
    )
    text = forms.CharField(
        label="How can a maintainer see it?",
        max_length=LONGEST,
        help_text="For example which file, licence or prompt. Maintainers read it, and nobody else.",
        widget=forms.Textarea(attrs={"rows": 5}),
    )


class NoteForm(forms.Form):
    """How a report was resolved."""

    note = forms.CharField(max_length=LONGEST)
    quarantine = forms.BooleanField(required=False)


class ReviewForm(forms.Form):
    """What is decided about something that was held back."""

    decision = forms.ChoiceField(choices=[("let-in", "Let in"), ("refuse", "Refuse")])
    reason = forms.CharField(max_length=2000, required=False)


class SwitchForm(forms.Form):
    """Whether each release of a library is looked at."""

    review = forms.ChoiceField(choices=[("yes", "Review each release"), ("no", "Review no more")])
    reason = forms.CharField(max_length=2000, required=False)


class QuotaForm(forms.Form):
    """How much somebody may keep, in the unit that people think in."""

    gib = forms.FloatField(required=False, min_value=0, max_value=MOST_GIB)

    def quota_bytes(self) -> int | None:
        gib = self.cleaned_data["gib"]
        return None if gib is None else round(gib * GIB)
