from django.apps import AppConfig


class DecisionsConfig(AppConfig):
    name = "hub.decisions"

    def ready(self) -> None:
        from hub.decisions import listening  # noqa: F401, PLC0415  its receivers need models
