"""The one checker that every fault run ends with: the operator's own."""

from django.test import override_settings

from hub.operations import checker


def complaints() -> list[str]:
    """Everything that is not as the hub promises, read as deep as possible."""
    with override_settings(CRASH=""):
        return [sentence for check in (*checker.QUICK, *checker.DEEP) for sentence in check()]
