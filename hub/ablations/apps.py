from django.apps import AppConfig


class AblationsConfig(AppConfig):
    name = "hub.ablations"
