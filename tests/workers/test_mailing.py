"""Letters: sent once each, again where the mail server failed, never where there is nobody to write to."""

from smtplib import SMTPRecipientsRefused, SMTPServerDisconnected

import pytest
from allauth.account.models import EmailAddress
from django.core import mail
from django.core.mail.backends.base import BaseEmailBackend
from pytest_django import DjangoCaptureOnCommitCallbacks, Settings

from hub.accounts.models import User
from hub.jobs.claims import Claim
from hub.jobs.models import Job, JobKind
from hub.notifications import queries, services
from hub.notifications.models import Kind
from tests.hub import making
from workers import mailing
from workers.claiming import CannotBeDone

pytestmark = pytest.mark.django_db


@pytest.fixture
def ada(db: None, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks) -> User:
    """Somebody with a confirmed address, who was told one thing."""
    ada = making.user("ada")
    EmailAddress.objects.create(user=ada, email=ada.email, verified=True, primary=True)
    with django_capture_on_commit_callbacks(execute=True):
        services.tell([ada], services.News(Kind.READY, "It is ready", "/ada/poetry", "At last."))
    return ada


def claimed(ada: User) -> Claim:
    Job.objects.filter(kind=JobKind.MAIL).update(not_before="2020-01-01T00:00:00Z")
    return making.take(JobKind.MAIL)


class Refusing(BaseEmailBackend):
    def send_messages(self, messages: object) -> int:  # noqa: ARG002
        raise SMTPRecipientsRefused({"ada@example.org": (550, b"no such person")})


class Cut(BaseEmailBackend):
    def send_messages(self, messages: object) -> int:  # noqa: ARG002
        raise SMTPServerDisconnected


def test_a_letter_goes_out_once(ada: User) -> None:
    claim = claimed(ada)

    mailing.send(claim)
    mailing.send(claim)

    assert [message.subject for message in mail.outbox] == ["It is ready"]
    assert not queries.to_send(ada.pk).exists()


@pytest.mark.parametrize(("backend", "error"), [(Refusing, CannotBeDone), (Cut, SMTPServerDisconnected)])
def test_what_the_mail_server_did_not_take_is_still_to_be_sent(
    ada: User, settings: Settings, backend: type, error: type[Exception]
) -> None:
    settings.EMAIL_BACKEND = f"{__name__}.{backend.__name__}"

    with pytest.raises(error):
        mailing.send(claimed(ada))

    assert queries.to_send(ada.pk).count() == 1


def test_nothing_is_sent_where_no_address_is_confirmed_any_more(ada: User) -> None:
    EmailAddress.objects.all().delete()

    mailing.send(claimed(ada))

    assert mail.outbox == []
