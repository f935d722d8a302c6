"""The steps of the report on an upload, in order, by what they are called while they run."""

from __future__ import annotations

FILES = "reading the files"
NUMBERS = "checking the numbers"
COPIES = "looking for copies"
BEHAVIOUR = "trying it on the base model"
STEPS = (FILES, NUMBERS, COPIES, BEHAVIOUR)
