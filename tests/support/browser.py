"""A real headless browser for tests: Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from playwright.async_api import Browser, Page, async_playwright

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
# What the page's policy forbids is reported to the document that tried it.
_WATCH_POLICY = """
  window.violations = [];
  document.addEventListener("securitypolicyviolation", (event) =>
    window.violations.push(`${event.violatedDirective} ${event.blockedURI}`));
"""


@asynccontextmanager
async def open_browser() -> AsyncIterator[Browser]:
    """Chromium without a window."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM)
        try:
            yield browser
        finally:
            await browser.close()


@dataclass(slots=True)
class Tab:
    """An open page. `errors` are what it and the console complained of; `refused` the addresses
    that were answered with an error status."""

    page: Page
    errors: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    async def complaints(self) -> list[str]:
        """Errors and what the Content-Security-Policy has forbidden."""
        return [*self.errors, *await self.page.evaluate("window.violations")]

    async def overflow(self) -> int:
        """By how many pixels the page is wider than the window."""
        return int(
            await self.page.evaluate(
                "document.documentElement.scrollWidth - document.documentElement.clientWidth"
            )
        )


@asynccontextmanager
async def open_tab(browser: Browser, url: str, **context: Any) -> AsyncIterator[Tab]:
    """A page at an address, in a context of its own; keywords are Playwright's, such as
    `viewport` and `color_scheme`."""
    opened = await browser.new_context(**context)
    opened.set_default_timeout(10_000)
    try:
        page = await opened.new_page()
        await page.add_init_script(_WATCH_POLICY)
        tab = Tab(page)
        page.on("pageerror", lambda error: tab.errors.append(str(error)))
        page.on(
            "console",
            lambda said: (
                tab.errors.append(said.text) if said.type in ("error", "warning") else None
            ),
        )
        page.on(
            "response",
            lambda response: tab.refused.append(response.url) if response.status >= 400 else None,
        )
        await page.goto(url)
        yield tab
    finally:
        await opened.close()
