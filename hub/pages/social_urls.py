"""The addresses of social cards."""

from django.urls import path

from hub.pages.views import social

urlpatterns = [
    path("cards/hub.png", social.hub, name="social_hub"),
    path("cards/libraries/<slug>.png", social.library, name="social_library"),
    path("cards/people/<username>.png", social.person, name="social_person"),
    path("cards/adapters/<owner>/<name>.png", social.adapter, name="social_adapter"),
]
