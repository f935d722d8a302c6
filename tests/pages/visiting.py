"""Visits of a real browser, of which everything suspicious is written down."""

from typing import Any

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Dialog, Page, Request
from pytest_django.live_server_helper import LiveServer

from hub.accounts.models import User
from tests.pages.sessions import session_of


class Watched:
    """A visit of which everything suspicious is written down."""

    def __init__(self, context: BrowserContext, origin: str) -> None:
        self.origin = origin
        self.suspicious: list[str] = []
        self.page = context.new_page()
        self.page.on("console", self._console)
        self.page.on("dialog", self._dialog)
        self.page.on("request", self._request)
        self.page.on("pageerror", lambda error: self.suspicious.append(f"error: {error}"))

    def open(self, path: str) -> Page:
        self.page.goto(self.origin + path)
        return self.page

    def _console(self, message: ConsoleMessage) -> None:
        if "Content Security Policy" in message.text or (
            message.type == "error" and "status of" not in message.text
        ):
            self.suspicious.append(f"console: {message.text}")

    def _dialog(self, dialog: Dialog) -> None:
        self.suspicious.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _request(self, request: Request) -> None:
        if not request.url.startswith((self.origin, "data:", "blob:")):
            self.suspicious.append(f"request: {request.url}")


def visit(browser: Browser, server: LiveServer, user: User | None = None, **options: Any) -> Watched:
    context = browser.new_context(**options)
    if user is not None:
        context.add_cookies([{"name": "sessionid", "value": session_of(user), "url": server.url}])
    return Watched(context, server.url)
