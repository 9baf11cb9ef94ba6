"""One Open WebUI, one daemon, real llama.cpp servers and a browser for the whole run.

Run by `make e2e-openwebui`. Where Open WebUI or the browser is missing, all tests are skipped with
the reason.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from e2e.openwebui.page import Talk
from e2e.openwebui.router import CHAT_KEY, Router, open_router, policy_of
from e2e.openwebui.webui import WebUI, open_webui
from tests.support import tokens
from tests.support.llama import (
    cache_directory,
    model_paths,
    real_llama,
    real_llama_router,
    smollm2_f16_path,
)

ROOT = Path(__file__).resolve().parents[2]
WEBUI = Path(os.environ.get("OPENWEBUI_VENV", ROOT / ".venv-openwebui")) / "bin" / "open-webui"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def _missing() -> str:
    """Why nothing can be run here, "" if it can."""
    if not WEBUI.exists():
        return f"Open WebUI is not installed in {WEBUI.parents[1].name}: make e2e-openwebui does it"
    if not any(map(shutil.which, BROWSERS)):
        return "there is no chromium: apt-get install chromium"
    for package in ("playwright", "PIL"):
        if importlib.util.find_spec(package) is None:
            return f"{package} is not installed: pip install -e '.[e2e]'"
    return ""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip everything, aloud, where it cannot run."""
    if reason := _missing():
        for item in items:
            item.add_marker(pytest.mark.skip(reason=reason))


@dataclass(frozen=True, slots=True)
class Site:
    """What the run shares. `box` is a llama-server in router mode with smollm2-135m and
    tiny-random; `small` a server of tiny-random alone, which is always loaded."""

    router: Router
    webui: WebUI
    box: str
    small: str
    browser: Any
    shots: Path

    async def obey(self, *backends: dict[str, Any], only: str = "*", **parts: Any) -> float:
        """Have the daemon obey a policy with these backends, and with `small` for tasks; the time
        of it, for `decisions`. only: where chats may go, if no `rules` are given."""
        port = int(self.router.root.rpartition(":")[2])
        small = {"name": "small", "type": "llamacpp", "url": self.small}
        chats = {"name": "chats", "when": {"task": ["none"]}, "only": [only]}
        parts = {"rules": [chats, {"name": "default"}], **parts}
        await self.router.obey(policy_of(port, backends=[*backends, small], **parts))
        return time.time()

    def box_backend(self, **fields: Any) -> dict[str, Any]:
        """The router of llama.cpp with SmolLM2 alone."""
        include = {"include": ["smollm2*"], **fields}
        return {"name": "box", "type": "llamacpp", "url": self.box, **include}


@pytest.fixture(scope="session")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    from playwright.async_api import async_playwright  # noqa: PLC0415

    folder = tmp_path_factory.mktemp("site")
    models = folder / "models"
    models.mkdir()
    (models / "smollm2-135m.gguf").symlink_to(smollm2_f16_path())
    (models / "tiny-random.gguf").symlink_to(model_paths()["tiny-random"])
    ranks = cache_directory() / "tiktoken"
    tokens.seed(ranks)
    os.environ["TIKTOKEN_CACHE_DIR"] = str(ranks)
    shots = Path(os.environ.get("OPENWEBUI_SHOTS", folder / "shots"))
    shots.mkdir(parents=True, exist_ok=True)
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        box = await enter(real_llama_router(models, models_max=2, n_ctx=16384, n_parallel=2))
        small = await enter(real_llama(model_paths()["tiny-random"], n_ctx=8192))
        router = await enter(open_router(folder))
        webui = await enter(open_webui(WEBUI, folder, f"{router.root}/v1", CHAT_KEY))
        await webui.set_params(max_tokens=24)
        play = await enter(async_playwright())
        chromium = next(filter(None, map(shutil.which, BROWSERS)))
        browser = await play.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        stack.push_async_callback(browser.close)
        yield Site(router, webui, box, small, browser, shots)


@pytest.fixture
async def talk(site: Site) -> AsyncIterator[Talk]:
    """A new chat in the administrator's page."""
    async with Talk.opened(site.browser, site.webui, site.shots) as opened:
        yield opened
