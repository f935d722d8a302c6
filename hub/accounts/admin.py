from django.contrib import admin
from django.contrib.auth.admin import UserAdmin as PlainUserAdmin

from hub.accounts.models import ApiToken, DeviceLogin, User
from hub.readonly import ReadOnlyAdmin


@admin.register(User)
class UserAdmin(PlainUserAdmin):  # type: ignore[type-arg]  # it takes none at run time
    fieldsets = (*(PlainUserAdmin.fieldsets or ()), ("Storage", {"fields": ("quota_bytes",)}))


@admin.register(ApiToken)
class ApiTokenAdmin(ReadOnlyAdmin):
    list_display = ("name", "prefix", "user", "scopes", "last_used_at", "expires_at", "revoked_at")
    exclude = ("digest",)
    list_select_related = ("user",)
    search_fields = ("name", "user__username")


@admin.register(DeviceLogin)
class DeviceLoginAdmin(ReadOnlyAdmin):
    list_display = ("program", "state", "user", "created_at", "expires_at")
    exclude = ("digest", "user_code")
    list_select_related = ("user",)
