"""After an upgrade that finds adapters by other words, workers write the entries of old ones again."""

import pytest

from hub.jobs import services as jobs
from hub.jobs.models import Job, JobKind
from hub.search import describing, services
from hub.search.models import Entry
from tests.hub import making
from tests.pages import content
from workers.describing import describe

pytestmark = pytest.mark.django_db
CARD = "# Verse\n\nWrites sonnets about the sea."


def found() -> list[str]:
    known = Entry.objects.filter(words__contains="sonnets").order_by("adapter__name")
    return list(known.values_list("adapter__name", flat=True))


def test_what_older_rules_wrote_is_written_again_by_a_worker_once() -> None:
    place, ada = content.found_library(), making.user()
    for name in ("poetry", "prose", "plays"):
        making.upload(ada, place, name, content.files(name, CARD))
    assert not services.ask_for_outdated()
    Entry.objects.filter(adapter__name="poetry").delete()
    Entry.objects.filter(adapter__name="prose").update(form=describing.FORM - 1, words="nothing of it")
    Entry.objects.filter(adapter__name="plays").update(form=describing.FORM - 1)
    assert found() == ["plays"]

    assert services.ask_for_outdated()
    assert not services.ask_for_outdated()
    claim = making.take(JobKind.DESCRIBE)
    describe(claim)
    jobs.finish(claim)

    assert found() == ["plays", "poetry", "prose"]
    job = Job.objects.get(kind=JobKind.DESCRIBE)
    assert (job.progress_done, job.progress_total) == (3, 3)
    assert "2 of 3 entries" in job.log
    assert not services.ask_for_outdated()
