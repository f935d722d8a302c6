"""The form of a playground: what is asked, and for each column who answers it and how they are routed."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from django import forms
from django.http import QueryDict

from hub.library.policy import MOST_EXPERTS_PER_TOKEN, PRIORS, ROUTERS
from hub.playground.questions import Question, Turn, Way

MOST_TOKENS = 1024
LONGEST_PROMPT = 20_000
MOST_TURNS = 40
AS_POLICY = "as the library decides"
WHO = {"composed": "The composed model", "base": "The plain base", "expert": "One expert alone"}
MODES = {"completion": "Completion", "chat": "Chat"}
OF_POLICY = {
    "top_k": "top_k",
    "softness": "temperature",
    "shortlist": "shortlist",
    "subtract": "subtract",
}  # whose value stands in an empty field
PLAIN = {"autocomplete": "off", "spellcheck": "false", "autocapitalize": "none"}


class Text(forms.CharField):
    """A text as it was typed: forms send every end of a line as two characters, and models know one."""

    widget = forms.Textarea

    def __init__(self, **options: Any) -> None:
        super().__init__(max_length=LONGEST_PROMPT, strip=False, **options)

    def to_python(self, value: Any) -> str:
        return str(super().to_python(value)).replace("\r\n", "\n")


class QuestionForm(forms.Form):
    """What is asked, and how long and how freely it is answered."""

    mode = forms.ChoiceField(
        label="As",
        choices=list(MODES.items()),
        initial="completion",
        required=False,
        widget=forms.RadioSelect,
    )
    prompt = Text(
        label="Prompt",
        widget=forms.Textarea(attrs={"rows": 4, "dir": "auto", "autocomplete": "off"}),
        error_messages={"required": "Write what is to be answered."},
    )
    system = Text(
        label="System message",
        required=False,
        help_text="For chats: stands before the conversation.",
        widget=forms.Textarea(attrs={"rows": 2, "dir": "auto"}),
    )
    max_tokens = forms.IntegerField(
        label="Longest answer, in tokens", min_value=1, max_value=MOST_TOKENS, initial=128, required=False
    )
    temperature = forms.FloatField(
        label="Temperature",
        min_value=0,
        max_value=2,
        initial=0,
        required=False,
        help_text="0 always takes the likeliest token; higher is freer.",
        widget=forms.NumberInput(attrs={"step": "0.1"}),
    )
    seed = forms.IntegerField(
        label="Seed", required=False, help_text="With a temperature: the same seed draws the same answer."
    )
    private = forms.BooleanField(
        label="With my private experts",
        required=False,
        initial=True,
        help_text="Yours, and those that you were invited to. Nobody else hears them.",
    )
    compare = forms.BooleanField(label="Beside it, another answer to the same prompt", required=False)

    def question(self) -> Question:
        """What was asked; only of a valid form."""
        said = self.cleaned_data
        return Question(
            prompt=said["prompt"],
            mode=said["mode"] or "completion",
            system=said["system"],
            max_tokens=said["max_tokens"] or 128,
            temperature=said["temperature"] or 0.0,
            seed=said["seed"],
        )


class WayForm(forms.Form):
    """Who answers in one column. What is left empty is the library's policy."""

    who = forms.ChoiceField(
        label="Who answers", choices=list(WHO.items()), initial="composed", required=False
    )
    expert = forms.CharField(
        label="Which expert",
        required=False,
        max_length=200,
        widget=forms.TextInput(attrs={**PLAIN, "list": "experts", "placeholder": "owner/name"}),
    )
    version = forms.TypedChoiceField(label="Index version", required=False, coerce=int, empty_value=None)
    router = forms.ChoiceField(
        label="Router", required=False, choices=[("", AS_POLICY), *((one, one) for one in ROUTERS)]
    )
    top_k = forms.IntegerField(
        label="Experts per token", required=False, min_value=1, max_value=MOST_EXPERTS_PER_TOKEN
    )
    softness = forms.FloatField(
        label="Softness",
        required=False,
        min_value=0.001,
        help_text="The router's temperature: higher mixes more evenly.",
        widget=forms.NumberInput(attrs={"step": "any"}),
    )
    experts = forms.CharField(
        label="Only these experts",
        required=False,
        max_length=4000,
        help_text="owner/name, parted by commas or spaces.",
        widget=forms.TextInput(attrs=PLAIN),
    )
    shortlist = forms.IntegerField(
        label="Short list",
        required=False,
        min_value=0,
        help_text="How many experts the whole prompt is narrowed to first; 0 is all.",
    )
    prior = forms.ChoiceField(
        label="The prompt is judged by",
        required=False,
        choices=[("", AS_POLICY), *((one, one) for one in PRIORS)],
    )
    subtract = forms.FloatField(
        label="General knowledge subtracted",
        required=False,
        min_value=0,
        help_text="How much of what the library's general experts know is taken from the others.",
        widget=forms.NumberInput(attrs={"step": "any"}),
    )
    turns = forms.CharField(required=False, widget=forms.HiddenInput)

    def __init__(self, *args: Any, versions: Sequence[int], policy: Mapping[str, Any], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, key in OF_POLICY.items():
            self.fields[name].widget.attrs["placeholder"] = policy.get(key, "")
        field = self.fields["version"]
        assert isinstance(field, forms.ChoiceField)
        named = [(str(number), str(number)) for number in versions]
        field.choices = [("", "the one that is served"), *named]

    def clean_experts(self) -> tuple[str, ...]:
        return tuple(self.cleaned_data["experts"].replace(",", " ").split())

    def clean_turns(self) -> tuple[Turn, ...]:
        try:
            rows = json.loads(self.cleaned_data["turns"] or "[]")
            return tuple(_turn(row) for row in rows[-MOST_TURNS:])
        except (ValueError, TypeError, KeyError) as error:
            raise forms.ValidationError("The conversation so far cannot be read; begin a new one.") from error

    def clean(self) -> dict[str, Any]:
        said = super().clean() or {}
        if said.get("who") == "expert" and not said.get("expert"):
            self.add_error("expert", "Say which one, as owner/name.")
        return said

    @property
    def conversation(self) -> tuple[Turn, ...]:
        """The conversation so far, as far as it can be read."""
        if not self.is_bound or "turns" in self.errors:
            return ()
        turns: tuple[Turn, ...] = self.cleaned_data["turns"]
        return turns

    def way(self) -> Way:
        """Who is to answer; only of a valid form."""
        said = {name: value for name, value in self.cleaned_data.items() if name != "turns"}
        return Way(**{**said, "who": said["who"] or "composed"})


def opened(form: type[forms.Form], sent: QueryDict, **options: Any) -> forms.Form:
    """A form with what an address says, which is not held against it yet."""
    prefix = f"{options['prefix']}-" if options.get("prefix") else ""
    said: Mapping[str, str] = sent.dict()  # type: ignore[assignment]
    initial = {name: said[prefix + name] for name in form.base_fields if prefix + name in said}
    return form(initial=initial, **options)


def _turn(row: Mapping[str, str]) -> Turn:
    if row["role"] not in {"user", "assistant"} or len(row["content"]) > LONGEST_PROMPT:
        raise ValueError(row["role"])
    return Turn("user" if row["role"] == "user" else "assistant", str(row["content"]))
