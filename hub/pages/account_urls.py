"""The addresses of one's own account: settings and notifications."""

from django.urls import path

from hub.pages.views import accounts, devices, notifications

urlpatterns = [
    path("settings/tokens", accounts.tokens, name="tokens"),
    path("settings/tokens/<int:token_id>/revoke", accounts.revoke, name="revoke_token"),
    path("settings/device", devices.device, name="device"),
    path("settings/notifications", notifications.preferences, name="notification_settings"),
    path("notifications", notifications.notifications, name="notifications"),
    path("notifications/read", notifications.read, name="notifications_read"),
    path("notifications/<int:number>", notifications.opened, name="notification"),
]
