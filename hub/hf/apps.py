from django.apps import AppConfig


class HfConfig(AppConfig):
    name = "hub.hf"
