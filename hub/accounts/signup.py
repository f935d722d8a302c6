"""How allauth treats our users."""

from allauth.account.adapter import DefaultAccountAdapter


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]
    """Names are lower-cased before they are looked up or stored, as everywhere else."""

    def clean_username(self, username: str, shallow: bool = False) -> str:  # noqa: FBT001, FBT002  allauth's signature
        return str(super().clean_username(username.lower(), shallow=shallow))
