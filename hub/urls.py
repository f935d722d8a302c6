"""Every address of the hub."""

from allauth.account.decorators import secure_admin_login
from django.contrib import admin
from django.urls import include, path

from hub import health, http
from hub.api import api
from hub.indexes import downloads as checkpoint_downloads

handler400 = "hub.pages.views.errors.bad_request"
handler403 = "hub.pages.views.errors.forbidden"
handler404 = http.not_found
handler429 = "hub.pages.views.errors.too_often"  # what allauth answers who tries too often
handler500 = http.server_error

# The admin has a form of its own, which would ask for no second factor.
admin.site.login = secure_admin_login(admin.site.login)  # type: ignore[method-assign]

urlpatterns = [
    path("healthz", health.alive, name="healthz"),
    path("readyz", health.ready, name="readyz"),
    path("admin/", admin.site.urls),
    path("accounts/", include("allauth.urls")),
    path("api/v1/", api.urls),
    path(
        "checkpoints/<int:checkpoint_id>/download",
        checkpoint_downloads.checkpoint_archive,
        name="checkpoint_download",
    ),
    path(
        "checkpoints/<int:checkpoint_id>/files/<path:path>",
        checkpoint_downloads.checkpoint_file,
        name="checkpoint_file",
    ),
    path("", include("hub.hf.urls")),
    path("", include("hub.pages.urls")),
]
