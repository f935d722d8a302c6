"""The addresses of the pages. Those of people and adapters come last: they begin with a free word."""

from django.contrib.sitemaps import views as sitemap_views
from django.urls import path, re_path

from hub.pages import account_urls, desk_urls, social_urls, upload_urls
from hub.pages.sitemaps import MAPS
from hub.pages.views import (
    ablations,
    access,
    accounts,
    adapters,
    changes,
    evaluations,
    exports,
    feeds,
    files,
    indexes,
    library,
    likes,
    mending,
    playground,
    reports,
    speakers,
    status,
)

RELEASE = "<owner>/<name>/releases/<oid>"
CONTRIBUTIONS = "libraries/<slug>/versions/<int:number>/contributions"

urlpatterns = [
    path("", library.home, name="home"),
    path("status", status.status, name="status"),
    path("feed", feeds.hub, name="feed"),
    path("libraries/<slug>/feed", feeds.library, name="library_feed"),
    path("robots.txt", feeds.robots, name="robots"),
    path("sitemap.xml", sitemap_views.index, MAPS, name="sitemap"),
    path("sitemap-<section>.xml", sitemap_views.sitemap, MAPS, name="django.contrib.sitemaps.views.sitemap"),
    path("adapters", library.browse, name="browse"),
    *upload_urls.urlpatterns,
    path("libraries/<slug>", library.library, name="library"),
    path("libraries/<slug>/speakers", speakers.speakers, name="speakers"),
    path("libraries/<slug>/map", library.expert_map, name="map"),
    path("libraries/<slug>/evaluations", evaluations.board, name="evaluations"),
    path("libraries/<slug>/evaluations/<int:number>", evaluations.one, name="evaluation"),
    path("libraries/<slug>/evaluations/<int:number>/questions", evaluations.questions, name="questions"),
    path(
        "libraries/<slug>/evaluations/<int:number>/questions/delete",
        evaluations.delete_questions,
        name="delete_questions",
    ),
    path("libraries/<slug>/play", playground.play, name="play"),
    re_path(r"^libraries/(?P<slug>[^/]+)/play/(?P<column>[ab])$", playground.ask, name="play_ask"),
    path("libraries/<slug>/decisions", library.decisions, name="decisions"),
    path("libraries/<slug>/versions", indexes.versions, name="versions"),
    path("libraries/<slug>/versions/promote", indexes.promote, name="promote"),
    path(CONTRIBUTIONS, ablations.contributions, name="contributions"),
    path(f"{CONTRIBUTIONS}/<int:run>", ablations.act, name="ablation_act"),
    path(f"{CONTRIBUTIONS}/<int:run>/progress", ablations.measuring, name="measuring"),
    path("libraries/<slug>/checkpoints", indexes.checkpoints, name="checkpoints"),
    path("libraries/<slug>/checkpoints/new", indexes.build, name="build"),
    path("checkpoints/<int:checkpoint_id>", indexes.checkpoint, name="checkpoint"),
    path("checkpoints/<int:checkpoint_id>/composing", indexes.composing, name="composing"),
    path("checkpoints/<int:checkpoint_id>/export", exports.checkpoint, name="export_checkpoint"),
    path("exports/<int:number>", exports.export, name="export"),
    *account_urls.urlpatterns,
    *desk_urls.urlpatterns,
    *social_urls.urlpatterns,
    path("<username>", accounts.profile, name="profile"),
    path("<owner>/<name>", adapters.adapter, name="adapter"),
    path("<owner>/<name>/access/<action>", access.act, name="access"),
    path("<owner>/<name>/report", reports.report, name="report"),
    path("<owner>/<name>/like", likes.like, name="like"),
    path(RELEASE, adapters.release, name="release"),
    path(f"{RELEASE}/files/<path:path>", files.file, name="release_file"),
    path(f"{RELEASE}/changes", changes.release, name="release_changes"),
    path(f"{RELEASE}/course", adapters.course, name="course"),
    path(f"{RELEASE}/mend", mending.mend, name="mend"),
    path(f"{RELEASE}/yank", adapters.yank, name="yank"),
    path(f"{RELEASE}/quarantine", adapters.quarantine, name="quarantine"),
    path(f"{RELEASE}/restore", adapters.restore, name="restore"),
    path(f"{RELEASE}/export", exports.release, name="export_release"),
    path(f"{RELEASE}/share", adapters.share, name="share"),
]
