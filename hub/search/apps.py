from django.apps import AppConfig


class SearchConfig(AppConfig):
    name = "hub.search"

    def ready(self) -> None:
        from hub.search import listening  # noqa: F401, PLC0415  its receivers need models, which exist only now
