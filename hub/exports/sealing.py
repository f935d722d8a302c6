"""Tokens of other hubs, encrypted while they wait; web and workers have the same key."""

from hub import sealing
from hub.errors import Invalid

PURPOSE = "hub.exports.sealing"


def sealed(secret: str) -> str:
    return sealing.sealed(secret, purpose=PURPOSE)


def opened(seal: str) -> str:
    """Raises Invalid where it was sealed with another key, or altered."""
    try:
        return sealing.opened(seal, purpose=PURPOSE)
    except sealing.Unreadable as error:
        raise Invalid("the token of this export cannot be read any more; ask for the export again") from error
