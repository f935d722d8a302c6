"""axe-core finds nothing serious on the main pages, in light and in dark, wide and narrow."""

from pathlib import Path
from typing import Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ViewportSize
from pytest_django.live_server_helper import LiveServer

from hub.adapters.models import Release
from hub.evaluations.models import Evaluation
from tests.pages.browser import CHROMIUM
from tests.pages.content import Content
from tests.pages.learnt import add_what_is_learnt
from tests.pages.visiting import visit

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not Path(CHROMIUM).exists(), reason=f"no Chromium at {CHROMIUM}"),
]
GRAVE = {"serious", "critical"}
LOOKS: dict[Literal["light", "dark"], ViewportSize] = {
    "light": {"width": 1280, "height": 900},
    "dark": {"width": 390, "height": 900},
}


@pytest.fixture
def paths(live_server: LiveServer, made: Content) -> list[str]:
    slug, second = made.library.slug, Release.objects.get(adapter__name="poetry", number=2)
    add_what_is_learnt(made)
    return [
        "/",
        "/adapters",
        "/status",
        "/adapters?q=poetry&owner=ada&status=ready",
        "/adapters?q=zebra&kind=lora",
        f"/libraries/{slug}",
        f"/libraries/{slug}/play",
        f"/libraries/{slug}/versions",
        f"/libraries/{slug}/decisions",
        f"/libraries/{slug}/map",
        f"/libraries/{slug}/speakers",
        f"/libraries/{slug}/evaluations",
        f"/libraries/{slug}/evaluations/{Evaluation.objects.latest('pk').pk}",
        f"/libraries/{slug}/evaluations/{Evaluation.objects.latest('pk').pk}/questions?member=all",
        f"/libraries/{slug}/versions/3/contributions",
        f"/libraries/{slug}/checkpoints/new",
        f"/libraries/{slug}/upload",
        f"/libraries/{slug}/upload?step#card",
        f"/{made.ready.adapter.full_name}",
        f"/{made.long.adapter.full_name}",
        f"/{made.rejected.adapter.full_name}",
        f"/{made.rejected.adapter.full_name}/releases/{made.rejected.oid}/mend",
        f"/{second.adapter.full_name}/releases/{second.oid}/changes",
        f"/{made.ready.adapter.full_name}/releases/{made.ready.oid}/files/adapter_config.json",
        f"/{made.contributor.username}",
        "/settings/tokens",
        "/settings/notifications",
        "/notifications",
        "/settings/organisations/rhymes",
        "/accounts/2fa/",
        f"/{made.ready.adapter.full_name}/report",
        f"/exports/{made.export.pk}",
    ]


@pytest.mark.long(40)
@pytest.mark.timeout(300)
def test_nothing_serious_is_in_anybody_s_way(
    browser: Browser, live_server: LiveServer, made: Content, paths: list[str]
) -> None:
    watched = visit(browser, live_server, made.contributor, reduced_motion="reduce")
    found = []
    for path in paths:
        page = watched.open(path)
        page.evaluate(Axe().axe_script)
        for scheme, size in LOOKS.items():
            page.emulate_media(color_scheme=scheme)
            page.set_viewport_size(size)
            for violation in page.evaluate("axe.run({resultTypes: ['violations']})")["violations"]:
                if violation["impact"] in GRAVE:
                    places = [node["html"][:120] for node in violation["nodes"][:3]]
                    found.append(f"{path}, {scheme}: {violation['id']}, {violation['help']}: {places}")

    assert found == []
