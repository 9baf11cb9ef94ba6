"""Open WebUI's page as a person uses it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .webui import WebUI

STOP = 'button[aria-label="Stop"]'
ANSWER = "#response-content-container"


@dataclass(slots=True)
class Talk:
    """A page with a chat. Waiting for what does not come raises playwright's TimeoutError."""

    page: Any
    webui: WebUI
    shots: Path

    @classmethod
    @asynccontextmanager
    async def opened(
        cls, browser: Any, webui: WebUI, shots: Path, token: str = ""
    ) -> AsyncIterator[Talk]:
        """A new chat of the person with this token, the administrator without one."""
        size = {"width": 1000, "height": 640}
        context = await browser.new_context(viewport=size, locale="en-US")
        context.set_default_timeout(15_000)
        kept = {"token": token or webui.token, "locale": "en-US", "theme": "light"}
        lines = [
            f"localStorage.setItem({json.dumps(k)}, {json.dumps(v)});" for k, v in kept.items()
        ]
        await context.add_init_script("".join(lines))
        talk = cls(page=await context.new_page(), webui=webui, shots=shots)
        try:
            await talk.begin()
            yield talk
        finally:
            for button in await talk.page.locator(STOP).all():  # a closed tab stops nothing
                await button.click()
            await context.close()

    async def begin(self) -> None:
        """A new chat."""
        await self.page.goto(f"{self.webui.url}/")
        await self.page.wait_for_selector("#chat-input")

    async def say(self, text: str) -> None:
        """Type a message and send it."""
        await self.page.click("#chat-input")
        await self.page.keyboard.type(text)
        await self.page.keyboard.press("Enter")

    async def attach(self, file: Path) -> None:
        """Attach a file to the next message and wait until it is uploaded."""
        async with self.page.expect_response("**/api/v1/files/**"):
            await self.page.set_input_files("input[type=file] >> nth=0", file)

    async def ended(self, seconds: float = 40) -> str:
        """Wait until nothing runs any more, tasks included; the last answer's text."""
        await self.page.wait_for_selector(STOP, state="detached", timeout=seconds * 1000)
        return await self.answer()

    async def ask(self, text: str) -> str:
        """Send a message and wait for the whole answer."""
        await self.say(text)
        await self.page.wait_for_selector(STOP)
        return await self.ended()

    async def answer(self) -> str:
        """The last answer as far as it has come."""
        return str(await self.page.locator(ANSWER).last.inner_text())

    async def sees(self, text: str, seconds: float = 15) -> None:
        """Wait until the page shows a text."""
        shown = self.page.get_by_text(text).last
        await shown.wait_for(state="visible", timeout=seconds * 1000)

    @property
    def chat(self) -> str:
        """The chat's id."""
        return str(self.page.url.rpartition("/c/")[2])

    async def picture(self, name: str, **clip: float) -> None:
        """Keep a picture for the docs, of few colours, that is small."""
        await asyncio.sleep(0.4)  # what fades in is in
        path = self.shots / f"{name}.png"
        await self.page.screenshot(path=path, animations="disabled", clip=clip or None)
        await asyncio.to_thread(_shrink, path)


def _shrink(path: Path) -> None:
    from PIL import Image  # noqa: PLC0415

    with Image.open(path) as image:
        small = image.convert("RGB").quantize(64)
    small.save(path, optimize=True)
