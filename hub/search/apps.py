from django.apps import AppConfig
from django.db.models.signals import post_migrate


class SearchConfig(AppConfig):
    name = "hub.search"

    def ready(self) -> None:
        from hub.search import listening  # noqa: PLC0415  its receivers need models, which exist only now

        post_migrate.connect(listening.first_entries, sender=self)
