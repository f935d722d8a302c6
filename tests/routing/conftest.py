"""Property tests say what holds, and nothing of how long this machine takes to try it."""

from hypothesis import settings

settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")
