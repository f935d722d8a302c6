from django.contrib import admin

from hub.clusters.models import Clustering, ClusterTraining, FixedCount, Placement, SharedSamples
from hub.readonly import ReadOnlyAdmin


@admin.register(Clustering)
class ClusteringAdmin(ReadOnlyAdmin):
    list_display = ("version", "count", "silhouette", "seconds", "created_at")
    list_select_related = ("version__library",)


@admin.register(Placement)
class PlacementAdmin(ReadOnlyAdmin):
    list_display = ("release", "cluster", "clustering")
    list_select_related = ("release__adapter__owner", "clustering__version__library")


@admin.register(FixedCount)
class FixedCountAdmin(ReadOnlyAdmin):
    list_display = ("library", "count")
    list_select_related = ("library",)


@admin.register(SharedSamples)
class SharedSamplesAdmin(ReadOnlyAdmin):
    list_display = ("release", "by", "at")
    list_select_related = ("release__adapter__owner", "by")


@admin.register(ClusterTraining)
class ClusterTrainingAdmin(ReadOnlyAdmin):
    list_display = ("version", "cluster", "release", "rows", "settled_at")
    list_select_related = ("version__library", "release__adapter__owner")
