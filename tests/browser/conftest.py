"""Headless Chromium, at two widths and in two schemes.

Needs Debian's chromium (or another one that CRAFT_TEST_CHROMIUM names) and the extra `browser`; `make browser` installs both.
CRAFT_TEST_PICTURES names a folder for screenshots.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

WIDTHS = (1280, 390)
Open = Callable[[str], Page]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium without a head; as root, as in CI, it has no sandbox."""
    path = os.environ.get("CRAFT_TEST_CHROMIUM") or shutil.which("chromium")
    assert path, "install Debian's package chromium, or name one by CRAFT_TEST_CHROMIUM"
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox"] if os.geteuid() == 0 else []
        )
        yield started
        started.close()


@pytest.fixture(params=[(width, scheme) for width in WIDTHS for scheme in ("light", "dark")], ids=str)
def opened(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Open]:
    """Opens a page; nothing may be said on the console, and nothing asked for from elsewhere."""
    width, scheme = request.param
    said: list[str] = []
    page = browser.new_page(
        viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion="reduce"
    )
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))

    def open_page(address: str) -> Page:
        own = ("file:", "data:") if address.startswith("file:") else ("data:", address)
        page.on("request", lambda asked: None if asked.url.startswith(own) else said.append(asked.url))
        page.goto(address)
        return page

    yield open_page
    page.close()
    assert said == []


def reads_well(page: Page) -> None:
    """Nothing runs over the side, and axe-core finds nothing."""
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    found = Axe().run(page, options={"resultTypes": ["violations"]})
    assert found.violations_count == 0, found.generate_report()


def picture(page: Page, name: str) -> None:
    """The head of a page as a picture, where a folder for it is named."""
    if folder := os.environ.get("CRAFT_TEST_PICTURES"):
        width, dark = page.evaluate("[innerWidth, matchMedia('(prefers-color-scheme: dark)').matches]")
        page.screenshot(path=f"{folder}/{name}-{width}-{'dark' if dark else 'light'}.png")
