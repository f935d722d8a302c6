from django.contrib import admin

from hub.ablations.models import Ablation, Contribution
from hub.readonly import ReadOnlyAdmin


@admin.register(Ablation)
class AblationAdmin(ReadOnlyAdmin):
    list_display = ("__str__", "by", "at", "state", "rows", "tokens", "seconds")
    list_select_related = ("version__library", "by")
    list_filter = ("state", "version__library")


@admin.register(Contribution)
class ContributionAdmin(ReadOnlyAdmin):
    list_display = ("release", "gain", "low", "high", "heard", "ablation")
    list_select_related = ("release__adapter__owner", "release__commit", "ablation__version__library")
