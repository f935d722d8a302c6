from django.apps import AppConfig


class UsesConfig(AppConfig):
    name = "hub.uses"
