"""What routing says when it cannot do what was asked: what was found, and what would be right."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from routing.finding import Finding


class RoutingError(Exception):
    """Something that routing was given is not what it needs."""


class UnsupportedBase(RoutingError):
    """This is no causal or encoder-decoder language model whose linear layers experts can modify."""


class WrongBase(RoutingError):
    """The base model on this machine is not the one that was registered."""


class UnsupportedEncoder(RoutingError):
    """This is no sentence encoder that can read prompts in the base's place."""


class WrongEncoder(RoutingError):
    """The sentence encoder on this machine is not the one that the index version names."""


class BadAdapter(RoutingError):
    """An uploaded adapter cannot be read; `findings` says everything that is wrong with it."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        super().__init__("\n".join(str(finding) for finding in findings))
        self.findings = tuple(findings)


class BadName(RoutingError):
    """A library or adapter name that could be something else than a name."""


class MissingObject(RoutingError):
    """The store holds no object under this digest."""

    def __init__(self, digest: str) -> None:
        super().__init__(f"object {digest} is not in the store")
        self.digest = digest


class CorruptObject(RoutingError):
    """An object's bytes are not those that its name promises."""

    def __init__(self, digest: str, found: str) -> None:
        super().__init__(f"object {digest} is damaged: its bytes have sha256 {found}")
        self.digest = digest
        self.found = found


class BadManifest(RoutingError):
    """An index manifest or one of its pages does not say what this version of routing understands."""


class UnknownVersion(RoutingError):
    """This library has no index version of this number."""


class VersionHeldBack(RoutingError):
    """This version has experts in quarantine, so it is not served."""


class VersionConflict(RoutingError):
    """Another manifest was already written under this number; versions never change."""


class UnknownExpert(RoutingError):
    """No expert of this name is a member of this index version."""


class ExpertUnavailable(RoutingError):
    """An expert's factors could not be read when they were wanted; `expert` is its name."""

    def __init__(self, expert: str, reason: str) -> None:
        super().__init__(f"{expert}: {reason}")
        self.expert = expert


class BadRouting(RoutingError):
    """A request for a way of routing that does not exist; `field` is the one that is wrong."""

    def __init__(self, field: str, found: str, expected: str) -> None:
        super().__init__(f"{field}: found {found}, expected {expected}")
        self.field = field


class BadMerge(RoutingError):
    """A way of merging that does not exist or does not fit; `field` is the option that is wrong."""

    def __init__(self, field: str, found: str, expected: str) -> None:
        super().__init__(f"{field}: found {found}, expected {expected}")
        self.field = field


class NotFinite(RoutingError):
    """The model's logits hold NaN or infinity, so there is no next token."""


class UpdateNotFinite(RoutingError):
    """An update that was worked out beside the base's weight holds NaN or infinity."""


class BadCheckpoint(RoutingError):
    """This directory is not a composed checkpoint that routing can load."""
