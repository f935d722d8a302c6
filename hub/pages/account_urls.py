"""The addresses of one's own account: settings and notifications."""

from django.urls import path

from hub.pages.views import accounts, devices, notifications, organisations

urlpatterns = [
    path("settings/tokens", accounts.tokens, name="tokens"),
    path("settings/tokens/<int:token_id>/revoke", accounts.revoke, name="revoke_token"),
    path("settings/device", devices.device, name="device"),
    path("settings/notifications", notifications.preferences, name="notification_settings"),
    path("settings/organisations", organisations.all_of_mine, name="organisations"),
    path("settings/organisations/<name>", organisations.organisation, name="organisation"),
    path("settings/organisations/<name>/<action>", organisations.act, name="organisation_act"),
    path("notifications", notifications.notifications, name="notifications"),
    path("notifications/read", notifications.read, name="notifications_read"),
    path("notifications/<int:number>", notifications.opened, name="notification"),
]
