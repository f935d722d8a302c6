"""Who: people, and the tokens that act for them."""

from typing import ClassVar

from django.contrib.auth.models import AbstractUser
from django.db import models
from django.db.models import CheckConstraint, F, Q, UniqueConstraint
from django.db.models.functions import Lower, Now

from hub.accounts import names


class User(AbstractUser):
    """An account: a person, or an organisation, which owns adapters and signs in nowhere. Names are stored in
    lower case, so two that differ in case cannot both exist.
    """

    class Kind(models.TextChoices):
        PERSON = "person"
        ORGANISATION = "organisation"

    username = models.CharField(
        max_length=names.LONGEST_USERNAME,
        unique=True,
        validators=names.USERNAME_VALIDATORS,
        error_messages={"unique": "This name is taken."},
    )

    kind = models.CharField(max_length=12, choices=Kind, default=Kind.PERSON, db_default=Kind.PERSON)
    quota_bytes = models.PositiveBigIntegerField(
        null=True, blank=True, help_text="what this person may keep here; empty is what everybody may"
    )

    class Meta(AbstractUser.Meta):
        constraints: ClassVar = [
            CheckConstraint(condition=Q(username=Lower(F("username"))), name="usernames_are_lower_case"),
            CheckConstraint(condition=Q(kind__in=["person", "organisation"]), name="account_kind_is_known"),
            CheckConstraint(
                condition=Q(kind="person") | Q(email="", is_staff=False, is_superuser=False),
                name="an_organisation_is_nobody_to_sign_in_or_to_write_to",
            ),
        ]

    @classmethod
    def normalize_username(cls, username: str) -> str:
        return str(super().normalize_username(username)).lower()

    @property
    def is_organisation(self) -> bool:
        return self.kind == self.Kind.ORGANISATION


class Membership(models.Model):
    """That a person belongs to an organisation, or is invited to it, and as what."""

    class Role(models.TextChoices):
        MEMBER = "member", "Member: sees and hears its private adapters"
        MAINTAINER = "maintainer", "Maintainer: uploads and manages its adapters, too"
        OWNER = "owner", "Owner: decides who belongs to it, too"

    organisation = models.ForeignKey(User, on_delete=models.CASCADE, related_name="members")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=10, choices=Role)
    invited_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    created_at = models.DateTimeField(db_default=Now())
    joined_at = models.DateTimeField(null=True, blank=True, help_text="empty while they were only invited")

    class Meta:
        ordering: ClassVar = ["pk"]
        constraints: ClassVar = [
            UniqueConstraint(fields=["organisation", "user"], name="one_membership_per_person"),
            CheckConstraint(
                condition=Q(role__in=["member", "maintainer", "owner"]), name="membership_role_is_known"
            ),
            CheckConstraint(condition=~Q(organisation=F("user")), name="nobody_belongs_to_themselves"),
        ]

    def __str__(self) -> str:
        return f"{self.user_id} in {self.organisation_id}: {self.role}"


class Scope(models.TextChoices):
    """What a token may do in its owner's name."""

    READ = "read"
    WRITE = "write"
    INFER = "infer"
    ADMIN = "admin"


class ApiToken(models.Model):
    """A key for programs. Only its digest is kept: a stolen database holds no usable token."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="api_tokens")
    name = models.CharField(max_length=80)
    prefix = models.CharField(max_length=12)
    digest = models.CharField(max_length=64, unique=True)
    scopes = models.JSONField(default=list)
    created_at = models.DateTimeField(db_default=Now())
    expires_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["-created_at", "-pk"]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}...)"


class DeviceLogin(models.Model):
    """A program that waits for its owner to sign in elsewhere (RFC 8628). Its secret is kept as a digest; the
    code that a person types is no secret: only who is signed in can use it, and to let the program in.
    """

    class State(models.TextChoices):
        WAITING = "waiting"
        APPROVED = "approved"
        DENIED = "denied"
        TAKEN = "taken"

    digest = models.CharField(max_length=64, unique=True)
    user_code = models.CharField(max_length=8, unique=True)
    program = models.CharField(max_length=200, blank=True, help_text="what the program said of itself")
    state = models.CharField(max_length=10, choices=State, default=State.WAITING)
    user = models.ForeignKey(User, on_delete=models.CASCADE, null=True, related_name="+")
    scopes = models.JSONField(default=list)
    created_at = models.DateTimeField(db_default=Now())
    expires_at = models.DateTimeField()
    asked_at = models.DateTimeField(null=True, help_text="when the program last asked whether it may come in")
    origin = models.CharField(
        max_length=32, blank=True, db_index=True, help_text="a keyed digest of the address it asked from"
    )

    class Meta:
        constraints: ClassVar = [
            CheckConstraint(
                condition=Q(state__in=["waiting", "denied"]) | Q(user__isnull=False),
                name="somebody_let_the_program_in",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.program or 'a program'}, {self.state}"
