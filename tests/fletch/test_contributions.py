"""What each expert contributes, from the command line: asked for with rows, and read without."""

from __future__ import annotations

import json
from pathlib import Path

from hub.ablations.models import Ablation
from hub.accounts import services as accounts
from hub.accounts.models import User
from hub.jobs import services as jobs
from hub.jobs.models import JobKind
from tests.fletch.running import Shell
from tests.hub import making
from tests.pages.ablated import contributions


def test_a_maintainer_asks_with_rows_and_anybody_reads_the_figures(
    shell: Shell, ada: User, tmp_path: Path
) -> None:
    place = making.library(maintainer=ada)
    making.ready(ada, place, "one")
    version = making.publish(place)
    _, secret = accounts.issue_token(user=ada, name="desk", scopes=["read", "admin"])
    rows = tmp_path / "chores.jsonl"
    rows.write_text(json.dumps({"prompt": "one", "completion": "two"}))

    asked = shell.fletch(
        *("contributions", "tiny", "--rows", rows, "--expert", "ada/one", "--no-wait"),
        FLETCH_TOKEN=secret,
    )

    assert asked.status == 7, asked.err
    found = Ablation.objects.get()
    assert (found.name, found.chosen) == ("chores.jsonl", [version.members().get().adapter_id])
    jobs.finish(making.take(JobKind.ABLATE))
    contributions(version, ada, "Sums")
    told = shell.fletch("contributions", "tiny")
    assert told.status == 0, told.err
    assert "412 rows, -0.830 nats per token with all experts, the base alone -1.910" in told.out
    assert "ada/one  +0.290  [+0.252, +0.328]  heard on 400" in told.out
