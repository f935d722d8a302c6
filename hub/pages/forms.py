"""What people type into the pages, beside the files themselves."""

from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.conf import settings
from django.utils import timezone

from hub.accounts import names
from hub.accounts.models import Membership, Scope
from hub.adapters.models import Adapter

SCOPES = {
    Scope.READ: "Read: see and download what you may see, your private adapters too",
    Scope.WRITE: "Write: upload releases in your name",
    Scope.INFER: "Infer: ask the served models, with your private adapters too",
    Scope.ADMIN: "Admin: promote, roll back and quarantine where you are a maintainer",
}
LONGEST_NUMBER = 18  # digits of what a database can hold
LIFETIMES = {"30": "30 days", "90": "90 days", "365": "a year", "": "never"}


def positive(text: str | None) -> int | None:
    """A number of a row, as a form or an address says it; None for anything else."""
    return int(text) if text and text.isascii() and text.isdecimal() and len(text) <= LONGEST_NUMBER else None


class ReasonForm(forms.Form):
    """Why a release is withdrawn or held back."""

    reason = forms.CharField(max_length=2000, widget=forms.Textarea(attrs={"rows": 2}))


class PromotionForm(forms.Form):
    number = forms.IntegerField(min_value=1, widget=forms.HiddenInput)
    reason = forms.CharField(max_length=500)


class TokenForm(forms.Form):
    name = forms.CharField(
        max_length=80,
        help_text="Which program will have it, so that you know later.",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )
    scopes = forms.MultipleChoiceField(
        label="It may",
        choices=list(SCOPES.items()),
        initial=[Scope.READ, Scope.WRITE],
        widget=forms.CheckboxSelectMultiple,
    )
    lifetime = forms.ChoiceField(
        label="Expires after", choices=list(LIFETIMES.items()), initial="90", required=False
    )

    def expires_at(self) -> datetime | None:
        days = self.cleaned_data["lifetime"]
        return timezone.now() + timedelta(days=int(days)) if days else None


class DeviceCodeForm(forms.Form):
    code = forms.CharField(
        label="Code",
        max_length=20,
        help_text="The eight letters that the program shows.",
        widget=forms.TextInput(
            attrs={"autocomplete": "off", "spellcheck": "false", "autocapitalize": "characters"}
        ),
    )


class DeviceForm(forms.Form):
    """What a program may do that shows a code."""

    READS, WRITES = "read", "write"

    code = forms.CharField(max_length=20, widget=forms.HiddenInput)
    rights = forms.ChoiceField(
        label="It may",
        choices={
            WRITES: "Read what you may read, and upload in your name",
            READS: "Only read what you may read",
        },
        initial=WRITES,
        required=False,
        widget=forms.RadioSelect,
    )

    def scopes(self) -> list[str]:
        """Reading alone unless more was chosen."""
        more = [Scope.WRITE] if self.cleaned_data["rights"] == self.WRITES else []
        return [Scope.READ, *more]


class GatingForm(forms.Form):
    gating = forms.ChoiceField(
        label="Who may download the files",
        choices=Adapter.Gating.choices,
        required=False,
        widget=forms.RadioSelect,
        help_text="The model serves what it has learnt from it either way; checkpoints leave gated ones out.",
    )


class InviteForm(forms.Form):
    user = forms.CharField(
        label="Let somebody in",
        max_length=names.LONGEST_USERNAME,
        widget=forms.TextInput(
            attrs={"autocomplete": "off", "spellcheck": "false", "autocapitalize": "none"}
        ),
    )


class ExportForm(forms.Form):
    """Where something is to be pushed, and by what right."""

    endpoint = forms.ChoiceField(label="To")
    repo = forms.CharField(
        label="Repository",
        max_length=193,
        help_text="owner/name there; it is made if it is not there.",
        widget=forms.TextInput(
            attrs={"autocomplete": "off", "spellcheck": "false", "autocapitalize": "none"}
        ),
    )
    token = forms.CharField(
        label="Token of the other hub",
        max_length=500,
        help_text="One that may write there. It is encrypted until the push has ended, and then deleted.",
        widget=forms.PasswordInput(attrs={"autocomplete": "off"}),
    )
    private = forms.BooleanField(label="Only into a private repository", required=False)

    def __init__(self, *args: Any, closed: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["endpoint"]
        assert isinstance(field, forms.ChoiceField)
        field.choices = [(one, one) for one in settings.EXPORT_TO]
        if closed:
            del self.fields["private"]


class AskForm(forms.Form):
    message = forms.CharField(
        label="What do you want it for?",
        required=False,
        max_length=500,
        widget=forms.Textarea(attrs={"rows": 2}),
    )


class DecisionForm(forms.Form):
    user = forms.CharField(max_length=names.LONGEST_USERNAME, widget=forms.HiddenInput)
    decision = forms.ChoiceField(choices=[(word, word) for word in ("accepted", "rejected", "removed")])
    reason = forms.CharField(max_length=500, required=False)


class OrganisationForm(forms.Form):
    name = forms.CharField(
        max_length=names.LONGEST_USERNAME,
        help_text="Its adapters are called name/... Letters, digits and single hyphens, for good.",
        widget=forms.TextInput(
            attrs={"autocomplete": "off", "spellcheck": "false", "autocapitalize": "none"}
        ),
    )


class InvitationForm(forms.Form):
    """Who is to join an organisation, and as what."""

    user = forms.CharField(
        label="Name of the person",
        max_length=names.LONGEST_USERNAME,
        widget=forms.TextInput(
            attrs={"autocomplete": "off", "spellcheck": "false", "autocapitalize": "none"}
        ),
    )
    role = forms.ChoiceField(
        choices=Membership.Role.choices, initial=Membership.Role.MAINTAINER, widget=forms.RadioSelect
    )
