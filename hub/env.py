"""The only reader of the environment: every `FLETCH_*` variable, parsed and refused together at start-up.

A secret may also come from a file named by the same variable with `_FILE` added (container secrets).
"""

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured
from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from hub.limits import GIB, MIB, Limits

PREFIX = "FLETCH_"
FILE_SUFFIX = "_FILE"
SHORTEST_SECRET = 50  # what Django's own check asks for
FEWEST_DIFFERENT = 5
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
THIS_MACHINE = ("localhost", "127.0.0.1", "::1")  # as urlsplit gives a host
Names = Annotated[tuple[str, ...], NoDecode]


class Environment(BaseSettings):
    """Everything that an operator may set. `embedded` needs nothing; `production` refuses unsafe defaults."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore", frozen=True)

    profile: Literal["embedded", "production"] = "embedded"
    data: Path = Path("data")
    static_root: Path | None = None
    debug: bool = False
    secret_key: SecretStr | None = None
    allowed_hosts: Names = ()
    trusted_origins: Names = ()
    https: bool | None = None
    behind_proxy: bool = False
    trusted_proxies: int = Field(default=0, ge=0, le=10)
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    database_url: SecretStr | None = None
    statement_timeout_seconds: int = Field(default=30, ge=1, le=3600)
    sqlite_synchronous: Literal["FULL", "NORMAL"] = "FULL"
    redis_url: SecretStr | None = None

    s3_bucket: str | None = None
    s3_prefix: str = "blobs"
    s3_endpoint_url: str | None = None
    s3_region: str | None = None
    s3_access_key: SecretStr | None = None
    s3_secret_key: SecretStr | None = None
    store_url: str | None = None

    public_url: str = ""
    serving_url: str = "http://127.0.0.1:8081"
    serving_internal_url: str | None = None
    serving_callers: Literal["open", "passes"] | None = None
    serving_answers_at_once: int = Field(default=8, ge=0)
    serving_tokens_per_minute: int = Field(default=60_000, ge=0)
    report_key: SecretStr | None = None
    playground: Literal["off", "people", "everybody"] | None = None
    import_from: Names = ("https://huggingface.co",)
    read_through: str = ""
    export_to: Names = ()
    search_encoder: str = ""
    search_encoder_revision: str = ""

    email_verification: Literal["none", "optional", "mandatory"] = "none"
    email_host: str | None = None
    email_port: int = Field(default=587, ge=1, le=65535)
    email_user: str = ""
    email_password: SecretStr | None = None
    email_from: str = "Fletch <fletch@localhost>"

    archive_bytes: int = Field(default=GIB, ge=MIB)
    adapter_bytes: int = Field(default=2 * GIB, ge=MIB)
    user_quota_bytes: int = Field(default=100 * GIB, ge=0)
    members: int = Field(default=64, ge=2, le=10_000)
    free_bytes: int = Field(default=2 * GIB, ge=0)
    free_fraction: float = Field(default=0.05, ge=0.0, lt=1.0)

    lease_seconds: float = Field(default=60.0, gt=0)
    cluster_seconds: float = Field(default=20.0, ge=0)
    garbage_grace_hours: float = Field(default=24.0, ge=0)
    checkpoint_days: int = Field(default=30, ge=1)
    ablation_tokens: int = Field(default=20_000_000, ge=1)
    ablation_seconds: int = Field(default=7200, ge=1, le=14_000)  # below what such a job may take

    crash: str = Field(default="", pattern=r"^$|^[\w.-]+:(kill|raise|enospc|sleep)$")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  the signature is pydantic's
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, _NamedFiles(settings_cls)

    @field_validator("allowed_hosts", "trusted_origins", "import_from", "export_to", mode="before")
    @classmethod
    def _split_at_commas(cls, value: object) -> object:
        return (
            tuple(part.strip() for part in value.split(",") if part.strip())
            if isinstance(value, str)
            else value
        )

    @field_validator("import_from", "export_to")
    @classmethod
    def _hubs_have_addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_address_of_a_hub(address) for address in value)

    @field_validator("read_through", "public_url")
    @classmethod
    def _it_has_an_address(cls, value: str) -> str:
        return _address_of_a_hub(value) if value else value

    @field_validator("export_to")
    @classmethod
    def _tokens_travel_encrypted(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for address in value:
            parts = urlsplit(address)
            if parts.scheme != "https" and parts.hostname not in THIS_MACHINE:
                raise ValueError(
                    f"{address!r} would be sent people's tokens unencrypted; expected https://..."
                )
        return value

    @field_validator("database_url")
    @classmethod
    def _database_is_postgresql(cls, value: SecretStr | None) -> SecretStr | None:
        if value and urlsplit(value.get_secret_value()).scheme not in {"postgres", "postgresql"}:
            raise ValueError("must begin with postgresql://; leave it away for the embedded SQLite")
        return value

    @field_validator("redis_url")
    @classmethod
    def _broker_is_redis(cls, value: SecretStr | None) -> SecretStr | None:
        if value and urlsplit(value.get_secret_value()).scheme not in {"redis", "rediss", "unix"}:
            raise ValueError("must begin with redis:// or rediss://")
        return value

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        complaints = [*_about_storage(self), *_about_mail(self), *_about_search(self)]
        if self.profile == "production":
            complaints += _about_production(self)
        if complaints:
            raise ValueError("\n".join(complaints))
        return self

    @property
    def public_address(self) -> str:
        """Where people find the hub, for letters, which no request asks for. Empty where nobody said it."""
        known = (self.public_url, *self.trusted_origins)
        return next((one.rstrip("/") for one in known if one and "*" not in one), "")

    @property
    def limits(self) -> Limits:
        return Limits(
            archive_bytes=self.archive_bytes,
            adapter_bytes=self.adapter_bytes,
            user_quota_bytes=self.user_quota_bytes,
            members=self.members,
            free_bytes=self.free_bytes,
            free_fraction=self.free_fraction,
        )


class _NamedFiles(PydanticBaseSettingsSource):
    """`FLETCH_SECRET_KEY_FILE=/run/secrets/key` gives FLETCH_SECRET_KEY the content of that file."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002
        path = os.environ.get(_variable(field_name) + FILE_SUFFIX)
        return (Path(path).read_text().strip() if path else None), field_name, False

    def __call__(self) -> dict[str, Any]:
        found = {
            name: self.get_field_value(field, name)[0]
            for name, field in self.settings_cls.model_fields.items()
        }
        return {name: value for name, value in found.items() if value is not None}


def read_environment(variables: Mapping[str, str] = os.environ) -> Environment:
    """Parse the environment. Raises ImproperlyConfigured with one sentence per thing that is wrong."""
    complaints = list(_about_names(variables))
    try:
        environment = Environment()
    except OSError as error:
        complaints.append(f"a {PREFIX}..{FILE_SUFFIX} variable names a file that cannot be read: {error}")
    except ValidationError as error:
        for problem in error.errors():
            where = _variable(str(problem["loc"][0])) + ": " if problem["loc"] else ""
            message = problem["msg"].removeprefix("Value error, ")
            complaints += [where + line for line in message.splitlines()]
    if complaints:
        raise ImproperlyConfigured(
            "Fletch cannot start with these settings:\n  - " + "\n  - ".join(complaints)
        )
    return environment


def _address_of_a_hub(address: str) -> str:
    """Without a slash at its end. Raises ValueError."""
    parts = urlsplit(address)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.username:
        raise ValueError(f"{address!r} is no address of a hub; expected one like https://huggingface.co")
    return address.rstrip("/")


def _variable(field: str) -> str:
    return PREFIX + field.upper()


def _about_names(variables: Mapping[str, str]) -> list[str]:
    """A misspelt variable would be ignored in silence, and its safe default would rule."""
    known = [_variable(name) for name in Environment.model_fields]
    complaints = []
    for name in sorted(variables):
        if not name.startswith(PREFIX) or name in known:
            continue
        base = name.removesuffix(FILE_SUFFIX)
        if base in known and name.endswith(FILE_SUFFIX):
            if base in variables:
                complaints.append(f"{base} and {name} are both set; set one of them")
            continue
        near = difflib.get_close_matches(name, known, n=1)
        complaints.append(f"{name} is not a setting" + (f"; did you mean {near[0]}?" if near else ""))
    return complaints


def _about_storage(env: Environment) -> list[str]:
    complaints = []
    if env.s3_bucket is None and (env.s3_endpoint_url or env.s3_access_key or env.s3_secret_key):
        complaints.append(
            f"{PREFIX}S3_BUCKET is missing: the other {PREFIX}S3_* settings have nothing to open"
        )
    if bool(env.s3_access_key) != bool(env.s3_secret_key):
        complaints.append(
            f"{PREFIX}S3_ACCESS_KEY and {PREFIX}S3_SECRET_KEY belong together; one of them is missing"
        )
    if env.store_url and "://" in env.store_url and not env.store_url.startswith("s3://"):
        complaints.append(f"{PREFIX}STORE_URL is {env.store_url!r}; expected a folder or s3://bucket/prefix")
    if env.adapter_bytes < env.archive_bytes:
        complaints.append(
            f"{PREFIX}ADAPTER_BYTES is smaller than {PREFIX}ARCHIVE_BYTES: no full archive would fit"
        )
    return complaints


def _about_mail(env: Environment) -> list[str]:
    if env.email_verification == "mandatory" and env.email_host is None and env.profile == "production":
        return [
            f"{PREFIX}EMAIL_VERIFICATION is mandatory but {PREFIX}EMAIL_HOST is missing: nobody could sign up"
        ]
    return []


def _about_search(env: Environment) -> list[str]:
    complaints = []
    if env.search_encoder.startswith((".", "~")):
        complaints.append(
            f"{PREFIX}SEARCH_ENCODER is {env.search_encoder!r}; expected the full path of a folder that "
            "workers see, or a hub id like org/name"
        )
    if env.search_encoder_revision and not env.search_encoder:
        complaints.append(
            f"{PREFIX}SEARCH_ENCODER_REVISION has nothing to be a revision of: "
            f"{PREFIX}SEARCH_ENCODER is missing"
        )
    return complaints


def _about_production(env: Environment) -> list[str]:
    complaints = []
    secret = env.secret_key.get_secret_value() if env.secret_key else ""
    if len(secret) < SHORTEST_SECRET or len(set(secret)) < FEWEST_DIFFERENT:
        complaints.append(
            f"{PREFIX}SECRET_KEY must be at least {SHORTEST_SECRET} random characters in production; "
            f"`python -c 'import secrets; print(secrets.token_urlsafe(50))'` makes one"
        )
    if not env.allowed_hosts or "*" in env.allowed_hosts:
        complaints.append(f"{PREFIX}ALLOWED_HOSTS must name the hosts of this hub in production, and never *")
    if env.debug:
        complaints.append(f"{PREFIX}DEBUG shows secrets to strangers; leave it off in production")
    if env.database_url is None:
        complaints.append(f"{PREFIX}DATABASE_URL is missing: production runs on PostgreSQL")
    return complaints
