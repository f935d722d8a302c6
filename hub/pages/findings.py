"""Findings as a reader takes them in: what is wrong in the same way at many places is said once."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from hub.errors import FindingJson


@dataclass(frozen=True)
class Complaint:
    """One thing that is wrong, and every (field, found) where it is."""

    first: FindingJson
    places: tuple[tuple[str, str], ...]


CODE = re.compile(r"`([^`\n]+)`")


def coded(text: str) -> SafeString:
    """A finding's words, with what stands between backticks as code. Everything else stays text."""
    parts = CODE.split(text)  # text and code in turn
    return format_html_join(
        "",
        "{}",
        (
            (format_html("<code>{}</code>", part) if number % 2 else part,)
            for number, part in enumerate(parts)
        ),
    )


def complaints(findings: Sequence[FindingJson]) -> list[Complaint]:
    """Findings that differ in field and found alone become one complaint, at the place of the first."""
    alike: dict[tuple[str, ...], list[FindingJson]] = {}
    for finding in findings:
        key = tuple(finding[part] for part in ("check", "severity", "file", "expected", "fix"))
        alike.setdefault(key, []).append(finding)
    return [
        Complaint(group[0], tuple((finding["field"], finding["found"]) for finding in group))
        for group in alike.values()
    ]
