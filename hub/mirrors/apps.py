from django.apps import AppConfig


class MirrorsConfig(AppConfig):
    name = "hub.mirrors"
