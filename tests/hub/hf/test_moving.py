"""Another name for an adapter that nothing refers to yet."""

import pytest

from hub.accounts.models import User
from hub.adapters import repositories, services
from hub.adapters.models import Adapter
from hub.errors import Conflict, Invalid
from hub.jobs.models import JobKind
from tests.hub import making

pytestmark = pytest.mark.django_db


def names() -> list[str]:
    return sorted(adapter.full_name for adapter in Adapter.objects.select_related("owner"))


def test_the_old_name_is_free_again(ada: User) -> None:
    draft = repositories.create(owner=ada, name="draft")

    repositories.rename(adapter=draft, name="Poetry")
    repositories.create(owner=ada, name="draft")
    repositories.rename(adapter=draft, name="poetry")  # the same name to us, spelt otherwise

    assert names() == ["ada/draft", "ada/poetry"]


@pytest.mark.parametrize("name", ["Other", "other", "gone"])
def test_no_name_is_used_twice(ada: User, name: str) -> None:
    draft = repositories.create(owner=ada, name="draft")
    repositories.create(owner=ada, name="other")
    gone = making.ready(ada, making.library(), "gone").adapter
    repositories.delete(adapter=gone, by=ada)

    with pytest.raises(Conflict, match="names are not used twice"):
        repositories.rename(adapter=draft, name=name)


@pytest.mark.parametrize("name", ["", "a/b", "-x", "x" * 97])
def test_a_name_is_a_name(ada: User, name: str) -> None:
    with pytest.raises(Invalid):
        repositories.rename(adapter=repositories.create(owner=ada, name="draft"), name=name)


def test_what_is_named_by_others_keeps_its_name(ada: User) -> None:
    place = making.library()
    waiting = making.upload(ada, place, "waiting").adapter
    known = making.ready(ada, place, "known").adapter

    for adapter in (waiting, known):
        with pytest.raises(Conflict, match="say by its name who their experts are"):
            repositories.rename(adapter=adapter, name="another")


def test_a_refused_adapter_may_be_called_something_else(ada: User) -> None:
    release = making.upload(ada, making.library(), "refused")
    claim = making.take(JobKind.VALIDATE)
    services.record_report(claim, release.pk, [{**making.DOUBT, "severity": "error"}])

    repositories.rename(adapter=release.adapter, name="better")

    assert names() == ["ada/better"]
