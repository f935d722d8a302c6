"""Entries follow what happens to adapters, in the same transaction."""

from typing import Any

from django.dispatch import receiver

from hub.adapters.models import Adapter
from hub.adapters.signals import described, liked, settling, standing_changed
from hub.search import meanings, services


@receiver(described)
def described_anew(adapter: Adapter, **_: Any) -> None:
    services.describe_again(adapter)
    meanings.ask_again(adapter)


@receiver(settling)
def about_to_be_judged(adapter: Adapter, **_: Any) -> None:
    """Jobs are locked after the rows that they are about."""
    services.hold(adapter)


@receiver(standing_changed)
def judged_anew(adapter: Adapter, **_: Any) -> None:
    services.judge_again(adapter)


@receiver(liked)
def liked_or_not(adapter: Adapter, by: int, **_: Any) -> None:
    services.count_likes(adapter, by=by)
