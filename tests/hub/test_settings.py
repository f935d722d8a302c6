"""Settings are read once, typed, and refused together; the web process starts light."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from hub import database, secret
from hub.env import read_environment

SECRET = "correct-horse-" * 4
SAFE = {
    "FLETCH_PROFILE": "production",
    "FLETCH_SECRET_KEY": SECRET,
    "FLETCH_ALLOWED_HOSTS": "hub.example.org",
    "FLETCH_DATABASE_URL": "postgresql://u:p@db/fletch",
}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Without any FLETCH_ variable."""
    for name in [name for name in os.environ if name.startswith("FLETCH_")]:
        monkeypatch.delenv(name)
    return monkeypatch


def complaint(environment: pytest.MonkeyPatch, **variables: str) -> str:
    for name, value in variables.items():
        environment.setenv(name, value)
    with pytest.raises(ImproperlyConfigured) as caught:
        read_environment()
    return str(caught.value)


def test_the_embedded_profile_needs_nothing(environment: pytest.MonkeyPatch) -> None:
    assert read_environment().profile == "embedded"


def test_a_safe_production_profile_is_accepted(environment: pytest.MonkeyPatch) -> None:
    for name, value in SAFE.items():
        environment.setenv(name, value)

    assert read_environment().allowed_hosts == ("hub.example.org",)


NONSENSE = [
    ({"FLETCH_PROFILE": "prod"}, "FLETCH_PROFILE"),
    ({"FLETCH_DATABSE_URL": "x"}, "did you mean FLETCH_DATABASE_URL"),
    ({"FLETCH_DATABASE_URL": "mysql://x"}, "postgresql://"),
    ({"FLETCH_REDIS_URL": "amqp://x"}, "redis://"),
    ({"FLETCH_DEBUG": "perhaps"}, "FLETCH_DEBUG"),
    ({"FLETCH_EMAIL_PORT": "99999"}, "FLETCH_EMAIL_PORT"),
    ({"FLETCH_LEASE_SECONDS": "-1"}, "FLETCH_LEASE_SECONDS"),
    ({"FLETCH_TRUSTED_PROXIES": "-1"}, "FLETCH_TRUSTED_PROXIES"),
    ({"FLETCH_FREE_FRACTION": "2"}, "FLETCH_FREE_FRACTION"),
    ({"FLETCH_S3_ACCESS_KEY": "a", "FLETCH_S3_BUCKET": "b"}, "belong together"),
    ({"FLETCH_S3_ENDPOINT_URL": "http://x"}, "FLETCH_S3_BUCKET is missing"),
    ({"FLETCH_STORE_URL": "gs://x"}, "s3://bucket/prefix"),
    ({"FLETCH_ADAPTER_BYTES": "1048576"}, "FLETCH_ADAPTER_BYTES"),
    ({"FLETCH_CRASH": "somewhere"}, "FLETCH_CRASH"),
    ({"FLETCH_IMPORT_FROM": "huggingface.co"}, "expected one like https://"),
    ({"FLETCH_EXPORT_TO": "huggingface.co"}, "expected one like https://"),
    ({"FLETCH_READ_THROUGH": "huggingface.co"}, "expected one like https://"),
    ({"FLETCH_SEARCH_ENCODER": "./encoder"}, "expected the full path of a folder"),
    ({"FLETCH_SEARCH_ENCODER_REVISION": "main"}, "FLETCH_SEARCH_ENCODER is missing"),
    (
        {"FLETCH_EXPORT_TO": "https://a.example, http://b.example"},
        "'http://b.example' would be sent people's",
    ),
    ({"FLETCH_SECRET_KEY_FILE": "/nowhere/at/all"}, "cannot be read"),
    ({"FLETCH_SECRET_KEY": "a", "FLETCH_SECRET_KEY_FILE": "b"}, "both set"),
    ({**SAFE, "FLETCH_SECRET_KEY": "short"}, "FLETCH_SECRET_KEY"),
    ({**SAFE, "FLETCH_SECRET_KEY": "s" * 60}, "FLETCH_SECRET_KEY"),
    ({**SAFE, "FLETCH_ALLOWED_HOSTS": "*"}, "FLETCH_ALLOWED_HOSTS"),
    ({**SAFE, "FLETCH_ALLOWED_HOSTS": ""}, "FLETCH_ALLOWED_HOSTS"),
    ({**SAFE, "FLETCH_DEBUG": "1"}, "FLETCH_DEBUG"),
    ({**SAFE, "FLETCH_EMAIL_VERIFICATION": "mandatory"}, "FLETCH_EMAIL_HOST"),
]


@pytest.mark.parametrize(("variables", "expected"), NONSENSE)
def test_nonsense_is_refused_by_name(
    environment: pytest.MonkeyPatch, variables: dict[str, str], expected: str
) -> None:
    assert expected in complaint(environment, **variables)


def test_everything_that_is_wrong_is_said_at_once(environment: pytest.MonkeyPatch) -> None:
    found = complaint(environment, FLETCH_PROFILE="production", FLETCH_TYPO="1")

    assert found.count("\n  - ") == 4


def test_a_secret_can_come_from_a_file(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("from a file\n")
    environment.setenv("FLETCH_SECRET_KEY_FILE", str(tmp_path / "key"))

    found = read_environment().secret_key

    assert found is not None
    assert found.get_secret_value() == "from a file"


def test_secrets_do_not_show_when_the_settings_are_printed(environment: pytest.MonkeyPatch) -> None:
    for name, value in SAFE.items():
        environment.setenv(name, value)

    assert SECRET not in repr(read_environment())
    assert "u:p@db" not in repr(read_environment())


def test_the_embedded_secret_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    first = secret.secret_in(tmp_path / "data" / "secret.key")

    assert secret.secret_in(tmp_path / "data" / "secret.key") == first
    assert len(first) >= 64
    assert stat.S_IMODE((tmp_path / "data" / "secret.key").stat().st_mode) == 0o600
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["secret.key"]


def test_sqlite_waits_its_turn_and_keeps_what_it_committed(tmp_path: Path) -> None:
    options = database.sqlite(tmp_path / "x", synchronous="FULL")["OPTIONS"]

    assert options == {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA journal_size_limit=67108864;",
    }


def test_postgresql_bounds_statements_locks_and_idle_transactions() -> None:
    found = database.postgresql(
        "postgresql://u%40x:p%2F@db:5433/name?sslmode=require", statement_timeout_seconds=30
    )

    assert (found["USER"], found["PASSWORD"], found["HOST"], found["PORT"], found["NAME"]) == (
        "u@x",
        "p/",
        "db",
        "5433",
        "name",
    )
    assert found["CONN_HEALTH_CHECKS"]
    assert found["OPTIONS"]["sslmode"] == "require"
    for part in ("statement_timeout=30000", "lock_timeout=5000", "idle_in_transaction_session_timeout=30000"):
        assert part in found["OPTIONS"]["options"]


def run(code: str, tmp_path: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("FLETCH_", "DJANGO_"))}
    environment = {
        **clean,
        "FLETCH_DATA": str(tmp_path / "data"),
        "DJANGO_SETTINGS_MODULE": "hub.settings",
        **variables,
    }
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )


HEAVY = ["torch", "transformers", "peft", "numpy", "safetensors", "boto3", "routing", "workers"]


def test_the_web_process_never_loads_what_computes_nor_looks_through_what_stays(tmp_path: Path) -> None:
    loaded = f"[m for m in {HEAVY} if m in sys.modules]"
    code = f"import gc, sys; import hub.wsgi, hub.urls; print({loaded}, gc.get_freeze_count() > 10_000, gc.isenabled())"

    done = run(code, tmp_path)

    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[] True True"


def test_production_passes_djangos_own_checks_for_deployment(tmp_path: Path) -> None:
    code = "from django.core.management import call_command; import django; django.setup(); call_command('check', deploy=True, fail_level='WARNING')"

    done = run(code, tmp_path, **SAFE)

    assert done.returncode == 0, done.stderr


def test_manage_says_what_is_wrong_in_sentences(tmp_path: Path) -> None:
    code = "import sys; sys.argv = ['manage.py', 'migrate']; import manage; manage.main()"

    done = run(code, tmp_path, FLETCH_PROFILE="production")

    assert done.returncode == 1
    assert "FLETCH_SECRET_KEY must be" in done.stderr
    assert "Traceback" not in done.stderr


def test_no_page_allows_inline_scripts_or_other_hosts(tmp_path: Path) -> None:
    code = (
        "import django; django.setup();"
        "from django.test import Client;"
        "print(Client().get('/healthz', headers={'host': 'localhost'})['Content-Security-Policy'])"
    )

    policy = run(code, tmp_path).stdout

    directives = {directive.strip() for directive in policy.split(";")}  # in any order: it differs by process
    assert {"default-src 'none'", "script-src 'self'"} <= directives
    assert "unsafe" not in policy
    assert "http" not in policy
