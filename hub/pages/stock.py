"""The account pages that come with allauth, said as our own pages say things."""

import re

from django.forms import BaseForm

LATER_WORD = re.compile(r"(?<=[\s-])[A-Z][a-z]+\b")  # no name with a capital inside, no abbreviation
LABELS = {"Login": "Username or email"}


def sentence(text: str) -> str:
    """A heading or button in Title Case as a sentence begins: `Change Password` is `Change password`."""
    stripped = text.strip()
    return stripped[:1] + LATER_WORD.sub(lambda word: word[0].lower(), stripped[1:])


def in_our_words(form: BaseForm) -> BaseForm:
    """A form whose labels begin as sentences do; a placeholder that says the label again goes."""
    for bound in form:
        label = str(bound.label)
        bound.label = LABELS.get(label, sentence(label))
        bound.field.widget.attrs.pop("placeholder", None)
    return form
