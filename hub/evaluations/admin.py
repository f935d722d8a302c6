from django.contrib import admin

from hub.evaluations.models import Evaluation
from hub.readonly import ReadOnlyAdmin


@admin.register(Evaluation)
class EvaluationAdmin(ReadOnlyAdmin):
    list_display = ("__str__", "by", "at", "withdrawn_at")
    list_select_related = ("version__library", "by")
    list_filter = ("version__library",)
