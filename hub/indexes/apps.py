from importlib import import_module

from django.apps import AppConfig


class IndexesConfig(AppConfig):
    name = "hub.indexes"

    def ready(self) -> None:
        import_module("hub.indexes.checkpoints")  # its receivers listen from here on
