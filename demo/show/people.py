"""The demonstration's people: accounts and API tokens, made once and remembered beside the hub's data."""

import json
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

from hub.accounts import services as accounts
from hub.accounts.models import User

MAINTAINER = "maintainer"


@dataclass(frozen=True)
class Person:
    """A login and a token of one account."""

    name: str
    password: str
    token: str


def people(names: list[str], *, remembered: Path) -> dict[str, Person]:
    """An account with a password and a token for each name; those that were made before are reused."""
    known = json.loads(remembered.read_text(encoding="utf-8")) if remembered.exists() else {}
    for name in names:
        if name not in known or not User.objects.filter(username=name).exists():
            known[name] = asdict(_invite(name))
    remembered.parent.mkdir(parents=True, exist_ok=True)
    remembered.touch(mode=0o600)
    remembered.write_text(json.dumps(known, indent=1), encoding="utf-8")
    return {name: Person(**known[name]) for name in names}


def _invite(name: str) -> Person:
    password = secrets.token_urlsafe(9)
    user, _ = User.objects.get_or_create(username=name, defaults={"email": f"{name}@example.org"})
    user.set_password(password)
    user.is_staff = user.is_superuser = name == MAINTAINER
    user.save()
    _, token = accounts.issue_token(
        user=user,
        name="demonstration",
        scopes=["read", "write", "admin"] if user.is_staff else ["read", "write"],
    )
    return Person(name, password, token)
