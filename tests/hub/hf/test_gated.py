"""Gated and invited access: who may have the files, asked and answered by real clients, pages and the wire."""

import pytest
from django.test import Client

from hub.accounts import services as accounts
from hub.accounts.models import User
from hub.adapters import access
from hub.adapters.models import Access, Adapter
from hub.adapters.repositories import show
from hub.errors import Invalid, NotFound
from hub.hf import stock
from hub.indexes.checkpoints import request_checkpoint
from hub.library.models import Library
from tests.hub import making
from tests.hub.hf.conftest import Clients
from tests.pages.conftest import seen_by

pytestmark = pytest.mark.django_db
CARD = b"# Poems\n"
FILES = {**making.PLAIN, "README.md": CARD}
CONFIG = "/ada/poetry/resolve/main/adapter_config.json"


@pytest.fixture
def ada(db: None) -> User:
    return making.user("ada")


@pytest.fixture
def bob(db: None) -> User:
    return making.user("bob")


@pytest.fixture
def library(db: None) -> Library:
    return making.library()


@pytest.fixture
def poetry(ada: User, library: Library) -> Adapter:
    return making.upload(ada, library, files=FILES).adapter


def bearer(user: User) -> dict[str, str]:
    _, secret = accounts.issue_token(user=user, name="test", scopes=("read", "write"))
    return {"Authorization": f"Bearer {secret}"}


def page(user: User | None, adapter: Adapter) -> str:
    return str(seen_by(user).get(f"/{adapter.full_name}").content.decode())


def said(who: User, adapter: Adapter, action: str, **form: str) -> str:
    """What the page says once the action was done."""
    url = f"/{adapter.full_name}/access/{action}"
    return str(seen_by(who).post(url, form, follow=True).content.decode())


@pytest.mark.django_db(transaction=True)
def test_real_clients_ask_decide_and_download(client_of: Clients) -> None:
    ada, bob = making.user("ada"), making.user("bob")
    poetry = making.upload(ada, making.library(), files=FILES).adapter
    owner, other = client_of(ada, "read", "write"), client_of(bob, "read", "write")

    owner.call("access", "gate", repo="ada/poetry", gating="manual")
    assert other.call("access", "looks_at", repo="ada/poetry") == "manual"
    refused = other.call("access", "download", repo="ada/poetry", path="adapter_config.json")
    assert refused.startswith("gated: Access to ada/poetry is restricted")
    assert other.call("access", "download", repo="ada/poetry", path="README.md") == CARD.decode()
    assert owner.call("access", "download", repo="ada/poetry", path="adapter_config.json")[0] == "{"

    access.ask(adapter=Adapter.objects.get(), user=bob, message="for a sonnet")
    assert owner.call("access", "waiting", repo="ada/poetry") == [
        ["bob", "pending", {"message": "for a sonnet"}]
    ]
    owner.call("access", "accept", repo="ada/poetry", user="bob")

    assert other.call("access", "download", repo="ada/poetry", path="adapter_config.json")[0] == "{"
    owner.call("access", "reject", repo="ada/poetry", user="bob", reason="no sonnets")
    assert poetry.accesses.get().reason == "no sonnets"
    owner.call("access", "grant", repo="ada/poetry", user="bob")
    assert poetry.accesses.get().state == "accepted"


@pytest.mark.parametrize("method", ["get", "head"])
def test_a_refusal_is_one_that_clients_know(poetry: Adapter, bob: User, client: Client, method: str) -> None:
    access.gate(adapter=poetry, gating="auto")

    for headers in ({}, bearer(bob)):
        answer = getattr(client, method)(CONFIG, headers=headers)
        assert (answer.status_code, answer["X-Error-Code"]) == (403, "GatedRepo")
        assert "/ada/poetry" in answer["X-Error-Message"]


def test_who_asks_for_what_is_given_to_all_who_ask_has_it_at_once(poetry: Adapter, bob: User) -> None:
    access.gate(adapter=poetry, gating="auto")
    assert "Ask for access" in page(bob, poetry)
    assert "Sign in to ask" in page(None, poetry)
    assert 'id="use"' not in page(bob, poetry)

    assert "You may download it now" in said(bob, poetry, "ask", message="hello")

    assert seen_by(bob).get(CONFIG).status_code == 200
    assert 'id="use"' in page(bob, poetry)


def test_an_owner_reads_who_asks_and_answers(poetry: Adapter, ada: User, bob: User) -> None:
    assert "Saved" in said(ada, poetry, "gate", gating="manual")
    assert "bob" not in page(ada, poetry)

    assert "ada decides" in said(bob, poetry, "ask", message="<b>please</b>")
    assert "&lt;b&gt;please&lt;/b&gt;" in page(ada, poetry)
    assert seen_by(bob).get(CONFIG).status_code == 403
    assert "bob is turned away" in said(ada, poetry, "decide", user="bob", decision="rejected")
    assert "ada said no" in page(bob, poetry)
    assert "ada said no" in said(bob, poetry, "ask"), "asking again changes nothing"
    assert "bob is in" in said(ada, poetry, "decide", user="bob", decision="accepted")
    assert seen_by(bob).get(CONFIG).status_code == 200
    assert "no access any more" in said(ada, poetry, "decide", user="bob", decision="removed")
    assert seen_by(bob).get(CONFIG).status_code == 403


@pytest.mark.parametrize("action", ["gate", "invite", "decide"])
def test_only_its_owner_answers(poetry: Adapter, bob: User, action: str) -> None:
    access.gate(adapter=poetry, gating="manual")
    form = {"gating": "", "user": "bob", "decision": "accepted"}

    answer = seen_by(bob).post(f"/ada/poetry/access/{action}", form)

    assert answer.status_code == 403
    assert not Access.objects.exists()
    assert Adapter.objects.get().gating == "manual"


def test_only_its_owner_reads_who_asked(poetry: Adapter, bob: User, client: Client) -> None:
    url = "/api/models/ada/poetry/user-access-request/pending"

    assert client.get(url, headers=bearer(bob)).status_code == 403
    assert client.get(url).status_code == 401


def test_a_wish_can_be_taken_back_until_it_is_decided(poetry: Adapter, bob: User, client: Client) -> None:
    access.gate(adapter=poetry, gating="manual")
    assert client.post("/ada/poetry/ask-access", headers=bearer(bob)).json() == {"status": "pending"}
    cancel = "/api/models/ada/poetry/user-access-request/cancel"
    assert client.post(cancel, headers=bearer(bob)).status_code == 200
    assert not Access.objects.exists()

    access.invite(adapter=Adapter.objects.get(), user=bob)
    with pytest.raises(NotFound):
        access.take_back(adapter=poetry, user=bob)


def test_nobody_asks_for_what_is_open(poetry: Adapter, bob: User) -> None:
    with pytest.raises(Invalid, match="is open"):
        access.ask(adapter=poetry, user=bob)


def test_who_is_invited_sees_a_private_adapter(poetry: Adapter, ada: User, bob: User) -> None:
    show(adapter=poetry, private=True)
    assert seen_by(bob).get(CONFIG).status_code == 404

    assert "bob is in" in said(ada, poetry, "invite", user=" Bob ")

    assert seen_by(bob).get(CONFIG).status_code == 200
    assert seen_by(bob).get("/ada/poetry").status_code == 200
    access.remove(adapter=poetry, user=bob)
    assert seen_by(bob).get("/ada/poetry").status_code == 404


def test_inviting_nobody_says_so(poetry: Adapter, ada: User) -> None:
    show(adapter=poetry, private=True)

    assert "There is nobody called zoe here" in said(ada, poetry, "invite", user="zoe")


def test_bytes_of_a_gated_adapter_are_not_known_by_their_digest(poetry: Adapter, bob: User) -> None:
    commit = poetry.commits.latest("pk")
    digest = commit.files.get(path="adapter_model.safetensors").blob_id
    assert stock.known(bob, digest) is not None

    access.gate(adapter=poetry, gating="manual")

    assert stock.known(bob, digest) is None
    access.invite(adapter=poetry, user=bob)
    assert stock.known(bob, digest) is not None


def test_checkpoints_leave_gated_experts_out(ada: User, library: Library) -> None:
    first, second = (making.ready(ada, library, name) for name in ("open", "shut"))
    making.publish(library)
    library.refresh_from_db()
    version = library.current
    assert version is not None
    access.gate(adapter=second.adapter, gating="auto")

    made = request_checkpoint(version=version, kind="routed", requested_by=ada)

    assert made.options["experts"] == [first.adapter.full_name]
    with pytest.raises(Invalid, match="ada/shut is not an expert of tiny@1 open to all"):
        request_checkpoint(
            version=version, kind="routed", requested_by=ada, options={"experts": ["ada/shut"]}
        )
    access.gate(adapter=first.adapter, gating="auto")
    with pytest.raises(Invalid, match="all experts of tiny@1 are gated"):
        request_checkpoint(version=version, kind="routed", requested_by=ada)
