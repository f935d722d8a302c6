"""What users, libraries and adapters may be called: ASCII only, so that no name looks like another."""

import re
from collections.abc import Callable

from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator

from hub.errors import Invalid

LONGEST_USERNAME = 39
LONGEST_NAME = 96
USERNAME = re.compile(r"\A[a-zA-Z0-9](?:-?[a-zA-Z0-9])*\Z")
SLUG = re.compile(r"[a-z0-9](?:[-.]?[a-z0-9])*\Z")
ADAPTER = re.compile(r"[a-zA-Z0-9_](?:[\w.-]*[a-zA-Z0-9_])?\Z", re.ASCII)
SEPARATORS = re.compile(r"[-_.]+")

# First segments of our own addresses, now or soon, and names that would speak for the hub.
RESERVED = frozenset(
    """
    about accounts activity adapters admin administrator api base blobs cards cas checkpoints datasets desk
    docs evaluation exports favicon.ico feed fletch healthz help hf hub index indexes jobs libraries
    library login logout main maintainer mcp media metrics models new notifications oauth operator
    organisations organizations playground pricing privacy readyz releases resolve robots.txt root
    search security settings signup sitemap.xml spaces static status support system terms tokens upload
    uploads users v1 v2 versions www
    """.split()  # noqa: SIM905  seventy words read better as a paragraph
)


def username_is_free_to_take(value: str) -> None:
    """Reserved words stay ours in any case."""
    if value.lower() in RESERVED:
        raise ValidationError(f"The name {value!r} is reserved. Please choose another.")


USERNAME_VALIDATORS: list[Callable[[str], None]] = [
    RegexValidator(
        USERNAME,
        "Use letters a to z, digits and single hyphens between them, for example ada-lovelace.",
    ),
    username_is_free_to_take,
]


def normalised(name: str) -> str:
    """Names that differ only in case or in their separators count as one: `Foo_bar` is `foo-bar`."""
    return SEPARATORS.sub("-", name.lower()).strip("-")


def check_slug(slug: str) -> str:
    """A library's name in addresses. Raises Invalid."""
    if not SLUG.match(slug) or len(slug) > LONGEST_NAME or slug in RESERVED:
        raise Invalid(
            f"{slug!r} is no name for a library; use a to z, 0 to 9 with single - or . between, "
            "and no reserved word"
        )
    return slug


def check_adapter_name(name: str) -> str:
    """The rule of Hugging Face repository names, so that unmodified clients can say them. Raises Invalid."""
    doubled = "--" in name or ".." in name
    if not ADAPTER.match(name) or doubled or len(name) > LONGEST_NAME or name.endswith(".git"):
        raise Invalid(
            f"{name!r} is no name for an adapter; use up to {LONGEST_NAME} of A-Z a-z 0-9 . _ - and begin "
            "and end with a letter or digit, without '--' or '..'"
        )
    return name
