"""The addresses of the maintainer's desk."""

from django.urls import path

from hub.pages.views import desk, reports, staff

urlpatterns = [
    path("desk", desk.review, name="desk"),
    path("desk/releases/<int:number>", desk.release, name="desk_release"),
    path("desk/gates/<int:number>", desk.gates, name="desk_gates"),
    path("desk/libraries/<slug>", desk.library, name="desk_library"),
    path("desk/reports", reports.reports, name="desk_reports"),
    path("desk/reports/<int:number>", reports.resolve, name="desk_report"),
    path("desk/people", staff.people, name="desk_people"),
    path("desk/people/<username>", staff.quota, name="desk_quota"),
    path("desk/jobs", staff.all_jobs, name="desk_jobs"),
    path("desk/jobs/<int:number>/retry", staff.retry, name="desk_retry"),
]
