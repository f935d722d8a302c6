"""What people choose of a composed checkpoint: version, format, experts, routing or merging."""

from collections.abc import Sequence
from typing import Any

from django import forms

from hub.indexes.checkpoints import CHANGEABLE, DEFAULT_RANK, LARGEST_RANK
from hub.indexes.merging import FIELDS, LARGEST_SEED
from hub.indexes.models import ComposedCheckpoint
from hub.indexes.parts import Part
from hub.library.policy import MOST_EXPERTS_PER_TOKEN, ROUTERS
from hub.pages import phrases

MOST_BOXES = 200  # experts to tick; of more, names are typed
KINDS = {
    ComposedCheckpoint.Kind.ROUTED: (
        "Routed: the composed model itself, which picks experts for every token. Loads with routing or vLLM."
    ),
    ComposedCheckpoint.Kind.ADAPTER: (
        "One adapter: the experts merged into an ordinary LoRA of the rank you choose. Loads with peft."
    ),
    ComposedCheckpoint.Kind.MERGED: (
        "Merged: dense weights with the experts folded in. Loads with transformers alone."
    ),
}
MERGES = {
    "": "Mean: equal shares",
    "weighted": "Weighted mean",
    "task-arithmetic": "Task arithmetic: weights of any sign",
    "magnitude": "Magnitude: the largest entries of each",
    "ties": "TIES: the largest entries, where signs agree",
    "dare-linear": "DARE: entries kept by lot",
    "dare-ties": "DARE with TIES",
}
BITS = {
    "": "As in the base",
    "8": "8: about half of 16, hardly another model",
    "4": "4: about a quarter of 16, some answers differ",
}
OWN = "As the version routes"
NAMED = {"rows": 6, "spellcheck": "false", "placeholder": "owner/name"}


class CheckpointForm(forms.Form):
    version = forms.TypedChoiceField(label="Version", coerce=int)
    kind = forms.ChoiceField(
        label="Format",
        choices=list(KINDS.items()),
        initial=ComposedCheckpoint.Kind.ROUTED,
        widget=forms.RadioSelect,
    )
    router = forms.ChoiceField(
        label="Router", choices=[("", OWN), *((name, name) for name in ROUTERS)], required=False
    )
    top_k = forms.IntegerField(
        label="Experts for each token",
        required=False,
        min_value=1,
        max_value=MOST_EXPERTS_PER_TOKEN,
        help_text="As the version has it when empty.",
    )
    shortlist = forms.IntegerField(
        label="Experts for each prompt",
        required=False,
        min_value=0,
        help_text="How many a prompt is narrowed to first; 0 for all. As the version has it when empty.",
    )
    rank = forms.IntegerField(
        label="Rank",
        required=False,
        min_value=1,
        max_value=LARGEST_RANK,
        help_text=f"For one adapter only; {DEFAULT_RANK} when empty. Higher keeps more and is larger.",
    )
    bits = forms.TypedChoiceField(
        label="Bits of a weight",
        coerce=int,
        empty_value=None,
        choices=list(BITS.items()),
        required=False,
        help_text="Of the layers; the vocabulary stays as it is. How much that changes is measured and said "
        "in the checkpoint. Loads with transformers and the package compressed-tensors, or with vLLM "
        "(8 bits on GPUs).",
    )
    method = forms.ChoiceField(
        label="Merged by",
        choices=list(MERGES.items()),
        required=False,
        help_text="For one adapter and merged weights.",
    )
    weights = forms.CharField(
        label="Weights",
        required=False,
        help_text="One expert a line: owner/name = 0.5. Equal shares when empty.",
        widget=forms.Textarea(attrs={"rows": 2, "spellcheck": "false"}),
    )
    scale = forms.FloatField(
        label="Scale", required=False, help_text="Multiplies the merged update; 1 when empty."
    )
    density = forms.FloatField(
        label="Density",
        required=False,
        min_value=0,
        max_value=1,
        help_text="The share of entries that magnitude, TIES (0.2 when empty) and DARE (0.5) keep.",
    )
    seed = forms.IntegerField(
        label="Seed", required=False, min_value=0, max_value=LARGEST_SEED, help_text="Of DARE's lot."
    )
    experts = forms.MultipleChoiceField(
        label="Experts",
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text="Choose none to take all of them.",
    )
    names = forms.CharField(
        label="Experts",
        required=False,
        max_length=200_000,
        help_text="One a line, as owner/name; all of them when empty.",
        widget=forms.Textarea(attrs=NAMED),
    )

    def __init__(self, *args: Any, versions: Sequence[int], parts: Sequence[Part], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._choose("version", [(number, f"Version {number}") for number in versions])
        free = [part for part in parts if not part.gated]
        if len(free) > MOST_BOXES:
            del self.fields["experts"]
        else:
            del self.fields["names"]
            self._choose("experts", [(part.name, _said(part)) for part in free])

    def _choose(self, name: str, choices: list[tuple[Any, str]]) -> None:
        field = self.fields[name]
        assert isinstance(field, forms.ChoiceField)
        field.choices = choices

    def options(self) -> dict[str, Any]:
        """What the service understands: only what was chosen, and only what belongs to the format."""
        said, kind = self.cleaned_data, self.cleaned_data["kind"]
        names = said["experts"] if "experts" in said else said.get("names", "").split()
        options: dict[str, Any] = {"experts": names} if names else {}
        if kind == ComposedCheckpoint.Kind.ROUTED:
            policy = {name: said[name] for name in CHANGEABLE if said[name] not in {None, ""}}
            return {**options, **({"policy": policy} if policy else {})}
        of_kind = ("rank" if kind == ComposedCheckpoint.Kind.ADAPTER else "bits", *FIELDS)
        return {**options, **{name: said[name] for name in of_kind if said[name] not in (None, "", {})}}

    def clean_weights(self) -> dict[str, float]:
        weights: dict[str, float] = {}
        for line in self.cleaned_data["weights"].splitlines():
            name, _, number = line.rpartition("=")
            try:
                weights |= {name.strip(): float(number)} if line.strip() else {}
            except ValueError as error:
                raise forms.ValidationError(f"{line.strip()!r} is not like owner/name = 0.5") from error
        return weights


def called(name: str) -> str:
    """An option, or a method of merging, as the form has it: refusals name nothing that is not to be seen."""
    field = CheckpointForm.base_fields.get(name.removeprefix("policy."))
    if field is not None:
        return str(field.label)
    return (
        "Routing"
        if name == "policy"
        else MERGES.get(name, MERGES[""] if name == "mean" else name).partition(":")[0]
    )


def _said(part: Part) -> str:
    """An expert in the list: its name, its licence, and what it weighs."""
    return f"{part.name} ({part.licence or 'no licence said'}, {phrases.size(part.size)})"
