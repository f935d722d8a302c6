"""What a killed worker process leaves for the main process to find."""

from pathlib import Path

import pytest

from hub.jobs.claims import Claim
from hub.jobs.models import JobKind
from workers.claiming import note_of, noted, record_death

pytestmark = pytest.mark.usefixtures("hub")


def test_a_process_killed_while_it_writes_its_note_leaves_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def killed_halfway(path: Path, text: str) -> None:
        with path.open("w") as file:
            file.write(text[: len(text) // 2])
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_text", killed_halfway)
    claim = Claim(1, JobKind.INDEX, {"library_id": 1}, token=1)

    with pytest.raises(KeyboardInterrupt), noted(claim, "task"):
        pass

    assert not note_of("task").exists()
    record_death("task", "killed")
