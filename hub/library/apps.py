from importlib import import_module

from django.apps import AppConfig


class LibraryConfig(AppConfig):
    name = "hub.library"

    def ready(self) -> None:
        import_module("hub.library.services")  # its receivers listen from here on
