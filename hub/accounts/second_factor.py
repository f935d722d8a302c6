"""How allauth keeps what second factors are made of: encrypted, as everything that must be read again."""

from allauth.mfa.adapter import DefaultMFAAdapter

from hub import sealing
from hub.accounts.models import User
from hub.errors import Conflict

PURPOSE = "hub.accounts.second_factor"


class SecondFactorAdapter(DefaultMFAAdapter):  # type: ignore[misc]
    """An authenticator app shows the hub's name and the account's, not an address that may change."""

    def get_totp_label(self, user: User) -> str:
        return user.username

    def encrypt(self, text: str) -> str:
        return sealing.sealed(text, purpose=PURPOSE)

    def decrypt(self, encrypted_text: str) -> str:
        """Raises Conflict where FLETCH_SECRET_KEY has changed since."""
        try:
            return sealing.opened(encrypted_text, purpose=PURPOSE)
        except sealing.Unreadable as error:
            raise Conflict(
                "Your second factor cannot be read any more: the hub's secret key has changed. "
                "Its operator can remove the factor, and you set it up again."
            ) from error
