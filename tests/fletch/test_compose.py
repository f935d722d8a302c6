"""Asking for a checkpoint from the command line: what is said is what the hub hears."""

from __future__ import annotations

import pytest

from hub.accounts.models import User
from hub.indexes.models import ComposedCheckpoint
from tests.fletch.running import Shell
from tests.hub import making


@pytest.fixture(autouse=True)
def published(ada: User) -> None:
    place = making.library()
    making.ready(ada, place, "a")
    making.publish(place)


def test_bits_go_with_the_wish_and_a_kind_that_has_none_is_refused(shell: Shell) -> None:
    asked = shell.fletch("compose", "tiny", "--kind", "merged", "--bits", "8", "--no-wait", "--json")
    refused = shell.fletch("compose", "tiny", "--kind", "adapter", "--bits", "4", "--no-wait")

    assert asked.status == 7, asked.err
    assert asked.document["options"] == ComposedCheckpoint.objects.get().options == {"bits": 8}
    assert refused.status != 0
    assert "bits belongs to the kind 'merged', not to 'adapter'" in refused.err
