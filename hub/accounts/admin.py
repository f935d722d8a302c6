from django.contrib import admin
from django.contrib.auth.admin import UserAdmin as PlainUserAdmin

from hub.accounts.models import ApiToken, DeviceLogin, Membership, User
from hub.readonly import ReadOnlyAdmin


@admin.register(User)
class UserAdmin(PlainUserAdmin):  # type: ignore[type-arg]  # it takes none at run time
    fieldsets = (*(PlainUserAdmin.fieldsets or ()), ("Storage", {"fields": ("quota_bytes",)}))
    list_display = ("username", "kind", "email", "is_staff", "is_active")
    list_filter = ("kind", "is_staff", "is_superuser", "is_active", "groups")


@admin.register(Membership)
class MembershipAdmin(ReadOnlyAdmin):
    list_display = ("organisation", "user", "role", "joined_at")
    list_select_related = ("organisation", "user")


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
