"""The form of an upload, beside its files, and what its page is given."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django import forms
from django.conf import settings
from django.http import HttpRequest
from django.utils.safestring import SafeString

from hub.accounts import names, roles
from hub.accounts.models import User
from hub.adapters import plans, quota
from hub.adapters.cards import LARGEST_CARD
from hub.errors import HubError, Invalid, NotFound
from hub.http import own_address
from hub.library.models import Library
from hub.pages import card_editor, snippets
from hub.pages.listing import NAME_OF_BASE
from hub.pages.visitors import signed_in

MOST_LIBRARIES = 100
PLAIN = {"autocomplete": "off", "spellcheck": "false", "autocapitalize": "none"}
NAME = "Letters, digits, dots, dashes, underscores. The same name again makes the next release."


@dataclass(frozen=True)
class Owner:
    """An account under whose name somebody may upload, with what it may still keep."""

    account: User
    storage: quota.Storage


class UploadForm(forms.Form):
    """Everything about an upload but its files, which are read by hub.adapters.uploading."""

    library = forms.ChoiceField(widget=forms.RadioSelect, error_messages={"required": "Choose a library."})
    owner = forms.CharField(label="Whose it will be", required=False)
    name = forms.CharField(
        label="Name of the adapter",
        max_length=names.LONGEST_NAME,
        help_text=NAME,
        widget=forms.TextInput(attrs=PLAIN),
    )
    message = forms.CharField(
        label="What is in this release",
        required=False,
        max_length=settings.LIMITS.message_length,
        help_text="One line, like a commit message: what it was trained on, what changed.",
        widget=forms.Textarea(attrs={"rows": 2}),
    )
    private = forms.BooleanField(
        label="Keep this adapter private",
        required=False,
        help_text="Only you (or everybody in the organisation whose it is) and who is invited see it, and "
        "hear it in the served model. Decided with the first release.",
    )
    license = forms.CharField(
        label="Licence",
        required=False,
        max_length=100,
        help_text="An identifier such as apache-2.0.",
        widget=forms.TextInput(attrs={**PLAIN, "list": "licences"}),
    )
    language = forms.CharField(
        label="Languages",
        required=False,
        max_length=200,
        help_text="Codes with commas between: en, de",
        widget=forms.TextInput(attrs=PLAIN),
    )
    tags = forms.CharField(
        label="Tags",
        required=False,
        max_length=500,
        help_text="Words by which it is found, with commas between.",
        widget=forms.TextInput(attrs=PLAIN),
    )
    card = forms.CharField(
        label="README.md",
        required=False,
        max_length=LARGEST_CARD,
        strip=False,
        help_text="Markdown. It takes the place of a README.md among the files.",
        widget=forms.Textarea(attrs={"rows": 16, "dir": "auto"}),
    )

    def __init__(self, *args: Any, libraries: Sequence[Library], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["library"]
        assert isinstance(field, forms.ChoiceField)
        field.choices = [(library.slug, library.name) for library in libraries]

    def clean_name(self) -> str:
        try:
            return names.check_adapter_name(self.cleaned_data["name"])
        except Invalid as error:
            raise forms.ValidationError(str(error)) from error

    def written_card(self) -> str:
        """The card as it was typed, with what the fields say; empty where neither says anything."""
        text = self.cleaned_data["card"].replace("\r\n", "\n")
        typed = {name: self.cleaned_data[name] for name in card_editor.FIELDS if self.cleaned_data[name]}
        return card_editor.with_typed(text, typed) if text.strip() or typed else ""


def offered(slug: str = "") -> list[Library]:
    """The libraries that take uploads, and the one that was asked for. Raises NotFound."""
    named = Library.objects.defer("base_spec").annotate(base_name=NAME_OF_BASE)
    ready: list[Library] = list(named.filter(status=Library.Status.READY).order_by("name")[:MOST_LIBRARIES])
    if not slug or slug in {one.slug for one in ready}:
        return ready
    if (asked := named.filter(slug=slug).first()) is None:
        raise NotFound(f"There is no library {slug!r} here.")
    return [*ready, asked]


def upload_page(
    request: HttpRequest, form: UploadForm, libraries: Sequence[Library], error: HubError | None = None
) -> dict[str, Any]:
    """The form as it was filled in, why it was not accepted, what was begun, and the same from a terminal."""
    chosen = str(form["library"].value() or "")
    user = signed_in(request)
    storages = quota.storages_of(roles.namespaces(user))
    owners = [Owner(account, storage) for account, storage in storages.items()]
    whose = str(form["owner"].value() or user.username)
    return {
        "form": form,
        "owners": owners,
        "whose": next((one for one in owners if one.account.username == whose), owners[0]),
        "libraries": libraries,
        "chosen": next((one for one in libraries if one.slug == chosen), None),
        "error": error,
        "limits": settings.LIMITS,
        "unfinished": plans.unfinished(user),
        "allowed": {one.account for one in owners},
        "licences": card_editor.LICENCES,
        "template": card_editor.TEMPLATE,
        "terminal": snippets.upload_by_command(
            own_address(request), chosen or "LIBRARY", owner="" if whose == user.username else whose
        ),
    }


def said_of(draft: card_editor.Draft) -> dict[str, str | dict[str, str] | SafeString]:
    """A card's draft as the page's script reads it."""
    return {
        "text": draft.text,
        "fields": draft.fields,
        "html": draft.html,
        "complaint": draft.complaint,
        "note": draft.note,
    }
