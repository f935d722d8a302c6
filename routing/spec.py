"""What is known of a base model without loading it: which one, and which layers adapters may modify."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, Literal

from routing.digests import canonical_json, digest_of
from routing.errors import RoutingError

FamilyName = Literal["causal", "encoder-decoder"]


@dataclass(frozen=True)
class BaseRef:
    """Where a base model is: a local folder, or a Hugging Face id with the revision to take."""

    source: str
    revision: str | None = None


@dataclass(frozen=True)
class EncoderRef:
    """A sentence encoder that reads prompts in the base's place: where it is, and what must be found there.

    `name` holds the digest of its files, as `routing.encoding` names encoders.
    """

    source: str
    revision: str | None
    name: str


@dataclass(frozen=True)
class TargetModule:
    """A layer of the base by its dotted name, with its widths as mathematics has them.

    `spectral_norm` is an estimate of the largest singular value of its weight, good to a few per cent: a
    yardstick for what a plausible update is, nothing to compute with.
    """

    name: str
    kind: Literal["linear", "conv1d"]
    d_in: int
    d_out: int
    spectral_norm: float


@dataclass(frozen=True)
class BaseSpec:
    """A base model pinned by digests, with its target modules in the model's own order.

    `tokenizer_files` maps each tokenizer file to the digest of what it means (see `routing.tokenizer_files`).
    """

    name: str
    architecture: str
    revision: str | None
    config_digest: str
    tokenizer_digest: str
    weights_digest: str
    vocabulary: int
    context: int
    target_modules: tuple[TargetModule, ...]
    tokenizer_files: Mapping[str, str] = field(default_factory=dict, hash=False)
    family: FamilyName = "causal"

    @cached_property
    def _by_name(self) -> dict[str, TargetModule]:
        return {module.name: module for module in self.target_modules}

    def module(self, name: str) -> TargetModule:
        """The target module of this name; KeyError if the base has none."""
        return self._by_name[name]

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    @property
    def task_type(self) -> str:
        """PEFT's word for what adapters of this base are trained for."""
        return {"causal": "CAUSAL_LM", "encoder-decoder": "SEQ_2_SEQ_LM"}[self.family]

    @cached_property
    def digest(self) -> str:
        """The sha256 of the canonical JSON: the name of this base in index manifests."""
        return digest_of(canonical_json(self.to_json()))

    def to_json(self) -> dict[str, Any]:
        """Plain JSON that `from_json` reads back. What names no family is causal, as all bases once were."""
        document = {**asdict(self), "target_modules": [asdict(module) for module in self.target_modules]}
        if self.family == "causal":
            del document["family"]
        return document

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> BaseSpec:
        """Read what `to_json` wrote; RoutingError if a field is missing or unknown."""
        try:
            modules = tuple(TargetModule(**module) for module in document["target_modules"])
            return cls(**{**document, "target_modules": modules})
        except (KeyError, TypeError) as error:
            raise RoutingError(f"this is not a base specification: {error}") from error
