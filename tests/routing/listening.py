"""Somebody who waits for an answer of the engine."""

from __future__ import annotations

from dataclasses import dataclass, field

from routing.engine import Step


@dataclass
class Listener:
    """What one answer's engine told."""

    steps: list[Step] = field(default_factory=list)

    def __call__(self, step: Step) -> None:
        self.steps.append(step)

    @property
    def tokens(self) -> list[int]:
        return [token.token for step in self.steps for token in step.tokens]

    @property
    def errors(self) -> list[Exception]:
        return [step.error for step in self.steps if step.error is not None]

    @property
    def failures(self) -> list[type[Exception]]:
        """Their kinds."""
        return [type(error) for error in self.errors]
