"""The addresses of uploading: the page, and what its script asks."""

from django.urls import path

from hub.pages.views import sending, uploads

urlpatterns = [
    path("upload", uploads.upload, name="upload_start"),
    path("upload/card", uploads.card, name="upload_card"),
    path("upload/begin", sending.begin, name="upload_begin"),
    path("upload/finish", sending.finish, name="upload_finish"),
    path("upload/pieces/<sha256>", sending.piece, name="upload_piece"),
    path("upload/unfinished/<name>/forget", sending.forget, name="upload_forget"),
    path("libraries/<slug>/upload", uploads.upload, name="upload"),
]
