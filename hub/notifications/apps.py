from django.apps import AppConfig


class NotificationsConfig(AppConfig):
    name = "hub.notifications"

    def ready(self) -> None:
        from hub.notifications import listening  # noqa: F401, PLC0415  its receivers need models
