"""Numbers as JSON keeps them."""

import math
from typing import Any


def finite(value: Any) -> Any:
    """JSON has no words for infinity and not-a-number: they become null, at any depth."""
    match value:
        case float() if not math.isfinite(value):
            return None
        case dict():
            return {key: finite(inner) for key, inner in value.items()}
        case list() | tuple():
            return [finite(inner) for inner in value]
    return value
