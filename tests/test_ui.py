"""The page at /ui in a real headless browser, over a real daemon and real llama.cpp servers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
import yaml

from tests.conftest import Llamas
from tests.support import openai_answers
from tests.support.clients import free_port
from tests.support.daemon import Running, open_running, openai_backend, preferring
from tests.support.faults import FaultServer

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page

pytest.importorskip("playwright", reason="Playwright is not installed (the extra `test`)")
from playwright.async_api import expect  # noqa: E402

from tests.support.browser import CHROMIUM, open_browser, open_tab  # noqa: E402

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(
        not CHROMIUM, reason="no Chromium here; on Debian: apt-get install chromium"
    ),
]
HOSTILE = '<img src=x onerror="window.hurt=1"><script>window.hurt=1</script>'
PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with open_browser() as opened:
        yield opened


@asynccontextmanager
async def box(llamas: Llamas, folder: Path, **policy: Any) -> AsyncIterator[Running]:
    """A daemon over two real models; both answer within few tokens."""
    backends = [
        {"name": "tiny", "type": "llamacpp", "url": llamas.tiny},
        {"name": "small", "type": "llamacpp", "url": llamas.smollm2},
    ]
    rules = [{"name": "code", "when": {"category": ["coding"]}, "prefer": {"tiny/*": 5}}]
    rules += preferring("tiny/*", "small/*")
    whole = {"backends": backends, "rules": rules, **policy}
    async with open_running(whole, folder) as daemon:
        yield daemon


async def choose(page: Page, name: str) -> None:
    await page.get_by_role("tab", name=name).click()


async def test_every_tab_loads(browser: Browser, llamas: Llamas, tmp_path: Path) -> None:
    async with box(llamas, tmp_path) as daemon, open_tab(browser, daemon.url + "/ui") as tab:
        page = tab.page
        await page.get_by_text("live", exact=True).wait_for()
        await page.locator("#panel-live .memory .name", has_text="tiny-random").wait_for()
        await choose(page, "Models")
        await page.locator("summary", has_text="small/smollm2-135m").click()
        body = page.locator(".model[open]")
        await (
            body.get_by_text("No published name is surely its own")
            .or_(body.locator("b", has_text="huggingface"))
            .first.wait_for()
        )
        assert "context" in await body.locator(".facts").inner_text()
        await body.locator(".evidence summary").first.click()
        assert await body.locator(".sources").first.is_visible()
        assert await page.locator(".model svg.dots").count() >= 2
        await choose(page, "Playground")
        await page.get_by_label("Prompt or request").wait_for()
        await choose(page, "Policy")
        await page.get_by_text("saving from here is off").wait_for()
        text = await page.get_by_label("The policy's text").input_value()
        assert text == daemon.policy_file.read_text()
        assert await page.locator(".history li").count() == 1
        assert await page.get_by_role("button", name="Save").count() == 0
        # The address says which tab is shown, also after a reload.
        assert page.url.endswith("#policy")
        await page.reload()
        await page.get_by_role("tabpanel", name="Policy").wait_for()
        await page.goto(daemon.url + "/ui/#models")
        assert page.url == daemon.url + "/ui#models"
        await page.get_by_role("tabpanel", name="Models").wait_for()
        assert await tab.complaints() == []


async def test_a_chat_of_another_client_appears(
    browser: Browser, llamas: Llamas, tmp_path: Path
) -> None:
    async with box(llamas, tmp_path) as daemon, open_tab(browser, daemon.url + "/ui") as tab:
        page = tab.page
        await page.get_by_text("No decisions yet").wait_for()
        answer = await daemon.chat("Write a function in Python", max_tokens=4)
        row = page.locator(".decision").first
        await row.wait_for()
        assert "tiny/tiny-random" in await row.inner_text()
        await row.click()
        dialog = page.get_by_role("dialog", name="Decision")
        await dialog.get_by_text(answer.headers["x-router-decision"]).wait_for()
        await dialog.get_by_text("by rule", exact=False).first.wait_for()
        assert await dialog.locator(".candidates svg.bar rect").count() >= 2
        assert "quality" in await dialog.locator(".legend").first.inner_text()
        await dialog.get_by_role("button", name="Ask", exact=True).click()
        await dialog.get_by_text("small/smollm2-135m was not chosen").wait_for()
        assert "prefer" in await dialog.locator(".why table").inner_text()
        edit = json.loads(daemon.policy_file.read_text())
        edit["rules"][0]["exclude"] = ["small/*"]
        daemon.policy_file.write_text(json.dumps(edit))
        assert (await daemon.post("/admin/reload", {})).status == 200
        await dialog.get_by_role("button", name="Ask", exact=True).click()
        await dialog.locator(".why", has_text="Another policy decided").wait_for()
        assert "excluded by rule code" in await dialog.locator(".why").inner_text()
        await page.keyboard.press("Escape")
        await dialog.wait_for(state="hidden")
        # A request under way is shown with its model, and goes when it ends.
        async with daemon.streaming(
            "Write a long story", model="small/smollm2-135m", max_tokens=3000, ignore_eos=True
        ) as response:
            await page.locator(".requests").get_by_text("answering").wait_for()
            response.close()
        await page.locator(".requests").get_by_text("Nothing at this moment").wait_for()
        assert await tab.complaints() == []


@pytest.mark.parametrize(
    ("second", "first_line", "last_line"),
    [
        ("ok", "s/ok in place of s/500 by rule", "s/ok answered"),
        ("drop-mid-stream", "s/500 by rule", "s/drop-mid-stream failed"),
    ],
)
async def test_a_failover_is_told(
    second: str, first_line: str, last_line: str, browser: Browser, tmp_path: Path
) -> None:
    async with FaultServer(["500", second]) as backend:
        policy = {
            "backends": [openai_backend("s", backend.url)],
            "rules": preferring("s/500", f"s/{second}"),
        }
        async with (
            open_running(policy, tmp_path) as daemon,
            open_tab(browser, daemon.url + "/ui") as tab,
        ):
            await daemon.chat("Hello")
            await tab.page.locator(".decision").first.click()
            dialog = tab.page.get_by_role("dialog", name="Decision")
            headline = dialog.locator(".headline")
            await expect(headline).to_have_text(f"{first_line} 'default' (routed, preset balanced)")
            await dialog.get_by_role("button", name="Ask", exact=True).click()
            await dialog.locator(".why", has_text=last_line).wait_for()
            assert await tab.complaints() == []


async def test_texts_are_no_markup(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openai_answers, "WORDS", (HOSTILE,))
    async with FaultServer((HOSTILE, "ok"), tokens=1) as server:
        policy = {
            "backends": [openai_backend("s", server.url)],
            "rules": preferring(f"s/{HOSTILE}".replace("[", "?"), "s/ok"),
            "logging": {"prompts": True},
        }
        async with (
            open_running(policy, tmp_path) as daemon,
            open_tab(browser, daemon.url + "/ui") as tab,
        ):
            page = tab.page
            await page.locator(".tile").first.wait_for()
            await daemon.chat(HOSTILE, headers={"X-Session": HOSTILE})
            await page.locator(".decision").first.click()
            await page.get_by_role("dialog").locator("blockquote").wait_for()
            assert HOSTILE in await page.get_by_role("dialog").inner_text()
            await page.keyboard.press("Escape")
            await choose(page, "Models")
            await page.locator(".model > summary").first.click()
            await page.locator(".model[open] .sources").first.wait_for(state="attached")
            await choose(page, "Playground")
            await page.get_by_label("Prompt or request").fill(HOSTILE)
            await page.get_by_role("button", name="Explain").click()
            await page.locator(".candidates").first.wait_for()
            await page.get_by_role("button", name="Send", exact=True).click()
            await page.locator(".output").get_by_text("done in").wait_for()
            assert await page.locator(".answer").inner_text() == HOSTILE
            assert await page.evaluate("window.hurt") is None
            assert await page.locator("main img, main script, dialog img").count() == 0
            assert await tab.complaints() == []


async def test_the_playground(browser: Browser, llamas: Llamas, tmp_path: Path) -> None:
    # One server under two names: it writes slowly enough to be stopped.
    twice = [{"name": name, "type": "llamacpp", "url": llamas.smollm2} for name in ("one", "two")]
    async with (
        box(llamas, tmp_path, backends=twice, rules=[{"name": "default"}]) as daemon,
        open_tab(browser, daemon.url + "/ui#playground") as tab,
    ):
        page = tab.page
        prompt = page.get_by_label("Prompt or request")
        await page.get_by_role("button", name="Explain").click()
        await page.get_by_text("Type a prompt first").wait_for()
        await prompt.fill(
            '{"messages": [{"role": "user", "content": "Write code"}],'
            ' "max_tokens": 3000, "ignore_eos": true}'
        )
        await prompt.press("Control+Enter")
        await page.get_by_text("Nothing was sent").wait_for()
        assert await page.locator(".candidates > li").count() == 2
        assert await page.locator(".candidates rect.term-quality title").count() == 2
        assert await page.locator(".candidates rect.term-time title").count() == 2
        await page.get_by_text("by rule", exact=False).first.wait_for()
        # Two side by side, streamed, and stopped.
        await page.get_by_label("To", exact=True).select_option("one/smollm2-135m")
        await page.get_by_label("And beside it").select_option("two/smollm2-135m")
        await page.get_by_role("button", name="Send", exact=True).click()
        for place in range(2):
            await page.locator(".output").nth(place).get_by_text("writing, first token").wait_for()
        stop = page.get_by_role("button", name="Stop")
        await stop.click()
        await page.get_by_text("stopped after").nth(1).wait_for()
        await daemon.events.until(lambda: len(daemon.events.of("request.routed")) == 2)
        assert {row["outcome"] for row in daemon.events.of("request.routed")} == {"client_gone"}
        assert await stop.is_disabled()
        # A request that is short enough ends by itself.
        await prompt.fill('{"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4}')
        await page.get_by_role("button", name="Send", exact=True).click()
        await page.locator(".output").nth(1).get_by_text("4 tokens").wait_for()
        await page.locator(".output").nth(0).get_by_text("4 tokens").wait_for()
        # What looks like JSON and is none is a prompt, which is said.
        await prompt.fill("{% for x in y %} what does this line of Jinja do?")
        await page.get_by_role("button", name="Explain").click()
        await page.get_by_text(
            "Nothing was sent. Taken as a prompt, since it is no JSON"
        ).wait_for()
        await page.get_by_label("And beside it").select_option("")
        await page.get_by_role("button", name="Send", exact=True).click()
        await page.locator(".output").get_by_text("first token after").wait_for()
        assert await tab.complaints() == []


async def reload(daemon: Running, text: str) -> None:
    """Make a text the active policy."""
    daemon.policy_file.write_text(text)
    assert (await daemon.post("/admin/reload", {})).status == 200


async def test_an_edit_of_the_policy(browser: Browser, llamas: Llamas, tmp_path: Path) -> None:
    async with box(llamas, tmp_path, server={"edit_policy": True}) as daemon:
        text = yaml.safe_dump(json.loads(daemon.policy_file.read_text()))
        await reload(daemon, text)
        await daemon.chat("Hello there", max_tokens=2)
        assert len((await daemon.get("/admin/decisions")).data["decisions"]) == 1
        async with open_tab(browser, daemon.url + "/ui#policy") as tab:
            page = tab.page
            area = page.get_by_label("The policy's text")
            save = page.get_by_role("button", name="Save")
            attempt = page.get_by_role("button", name="Try this edit")
            await page.get_by_text("router.yaml", exact=False).first.wait_for()
            assert await page.locator(".numbers span").count() == len(text.split("\n"))
            assert await save.is_disabled()

            # A mistake is marked at its line, and cannot be saved.
            await area.fill(text + "scoring:\n  preset: speeed\n")
            await attempt.click()
            await page.get_by_text("1 problem: it would be refused").wait_for()
            line = str(len(text.split("\n")) + 1)
            assert await page.locator(".numbers .marked").inner_text() == line
            assert await save.is_disabled()
            await page.get_by_role("button", name=f"line {line}").click()
            rest = "area => area.value.slice(area.selectionStart)"
            assert await area.evaluate(rest) == "speeed\n"

            # A good one is tried on what was recorded.
            edited = text.replace("tiny/*: 1000.0", "tiny/*: 0.0")
            assert edited != text
            await area.fill(edited)
            await attempt.click()
            await page.get_by_text("It would be accepted").wait_for()
            assert "this edit moves 100 %" in await page.locator(".headline").inner_text()
            moved = "tiny/tiny-random → small/smollm2-135m"
            assert moved in await page.locator(".moves").inner_text()
            assert await page.locator(".numbers .marked").count() == 0
            assert daemon.policy_file.read_text() == text

            # What is being written is not thrown away by another edit or by another tab, and
            # does not overwrite that edit.
            await reload(daemon, f"# by hand\n{text}")
            await page.get_by_text("The file was changed meanwhile").wait_for()
            await choose(page, "Live")
            await choose(page, "Policy")
            assert await area.input_value() == edited
            await save.click()
            await page.get_by_text("The file has changed meanwhile").wait_for()
            await page.get_by_role("button", name="Back to the file").click()
            await expect(area).to_have_value(f"# by hand\n{text}")
            await area.fill(f"# by hand\n{edited}")
            await attempt.click()
            await page.get_by_text("It would be accepted").wait_for()
            await save.click()
            said = page.locator("#panel-policy [role=status]")
            await expect(said).to_contain_text("Saved as")
            assert daemon.policy_file.read_text() == f"# by hand\n{edited}"
            (backup,) = daemon.policy_file.parent.glob("*.bak")
            assert backup.read_text() == f"# by hand\n{text}"
            past = page.locator(".history")
            await past.get_by_text("this edit moves 100 %").wait_for()
            assert await past.locator(".badge").first.inner_text() == "page"
            # What is learnt of the save later is news, but nobody else's edit.
            await area.press_sequentially("# the next thought\n")
            daemon.state.edits.history[0]["summary"] = "compared once more"
            await past.get_by_text("compared once more").wait_for()
            assert "Saved as" in await said.inner_text()
            await page.get_by_role("button", name="Back to the file").click()
            await expect(area).to_have_value(f"# by hand\n{edited}")

            # An edit with a mistake that was saved elsewhere is shown with its problems.
            daemon.policy_file.write_text(text + "scoring:\n  preset: speeed\n")
            await page.get_by_text("The last edit was refused").wait_for()
            assert await page.locator(".numbers .marked").inner_text() == line
            assert {said.partition(" (")[0] for said in await tab.complaints()} == {
                "Failed to load resource: the server responded with a status of 409"
            }


async def test_the_keyboard(browser: Browser, llamas: Llamas, tmp_path: Path) -> None:
    async with box(llamas, tmp_path) as daemon, open_tab(browser, daemon.url + "/ui") as tab:
        page = tab.page
        await page.keyboard.press("Tab")

        async def focused() -> str:
            return str(await page.evaluate("document.activeElement.textContent"))

        assert await focused() == "Live"
        for key, name in (
            ("ArrowRight", "Models"),
            ("End", "Policy"),
            ("ArrowRight", "Live"),
            ("ArrowLeft", "Policy"),
            ("Home", "Live"),
        ):
            await page.keyboard.press(key)
            assert await focused() == name
            chosen = page.get_by_role("tab", selected=True)
            assert await chosen.inner_text() == name
            assert await page.get_by_role("tabpanel", name=name).is_visible()
            assert await page.get_by_role("tabpanel").count() == 1
        # Only the chosen tab is a stop; the next is in the panel.
        await page.keyboard.press("Tab")
        assert await page.evaluate("document.activeElement.id") == "show-tasks"
        ring = "getComputedStyle(document.activeElement).outlineStyle"
        assert await page.evaluate(ring) == "solid"
        assert await tab.complaints() == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_on_a_phone(browser: Browser, llamas: Llamas, tmp_path: Path, scheme: str) -> None:
    look = {**PHONE, "color_scheme": scheme, "reduced_motion": "reduce"}
    async with (
        box(llamas, tmp_path) as daemon,
        open_tab(browser, daemon.url + "/ui", **look) as tab,
    ):
        page = tab.page
        await daemon.chat("Write a function in Python" * 20, max_tokens=2)
        await page.locator(".decision").first.wait_for()
        await page.locator(".tile").first.wait_for()
        assert await tab.overflow() == 0
        await page.locator(".decision").first.tap()
        await page.locator("dialog .candidates").wait_for()
        await page.get_by_role("button", name="Ask", exact=True).tap()
        await page.locator(".why table").wait_for()
        wide = "dialog => dialog.scrollWidth - dialog.clientWidth"
        assert await page.locator("#decision").evaluate(wide) == 0
        await page.get_by_role("button", name="Close").tap()
        await choose(page, "Models")
        await page.locator(".model > summary").first.tap()
        await page.locator(".model[open] .facts").wait_for()
        assert await tab.overflow() == 0
        await choose(page, "Playground")
        await page.get_by_label("Prompt or request").fill("word" * 200)
        await page.get_by_role("button", name="Explain").tap()
        await page.locator(".candidates").first.wait_for()
        assert await tab.overflow() == 0
        await choose(page, "Policy")
        await page.get_by_role("button", name="Try this edit").tap()
        await page.locator("#panel-policy table").wait_for()
        assert await tab.overflow() == 0
        ground = await page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert ground == {"light": "rgb(245, 246, 248)", "dark": "rgb(18, 22, 28)"}[scheme]
        assert await tab.complaints() == []


async def test_keys(browser: Browser, llamas: Llamas, tmp_path: Path) -> None:
    auth = {"admin_key": "the-admin-key", "clients": [{"name": "family", "key": "a-client-key-1"}]}
    async with (
        box(llamas, tmp_path, auth=auth) as daemon,
        open_tab(browser, daemon.url + "/ui") as tab,
    ):
        page = tab.page
        dialog = page.get_by_role("dialog", name="Admin key")
        for _ in range(3):
            await dialog.wait_for()
            await page.keyboard.press("Escape")
        await dialog.get_by_label("Key", exact=True).fill("wrong")
        await page.keyboard.press("Enter")
        await dialog.get_by_text("is not valid").wait_for()
        await dialog.get_by_label("Key", exact=True).fill("the-admin-key")
        await dialog.get_by_role("button", name="Continue").click()
        await page.get_by_text("live", exact=True).wait_for()
        await page.locator(".tile").first.wait_for()
        # It is kept for this tab, and not beyond.
        await page.reload()
        await page.locator(".tile").first.wait_for()
        assert await page.evaluate("Object.keys(localStorage).length + document.cookie.length") == 0
        await choose(page, "Playground")
        key = page.get_by_label("Client key")
        await key.wait_for()
        await page.get_by_label("Prompt or request").fill(
            '{"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2}'
        )
        await page.get_by_role("button", name="Send", exact=True).click()
        await page.locator(".output").get_by_text("The key is missing").wait_for()
        await key.fill("a-client-key-1")
        await page.get_by_role("button", name="Send", exact=True).click()
        await page.locator(".output").get_by_text("2 tokens").wait_for()
        # The only complaints are about the answers that asked for a key.
        assert {said.partition(" (")[0] for said in await tab.complaints()} == {
            "Failed to load resource: the server responded with a status of 401"
        }
        assert tab.refused


async def test_from_elsewhere_without_a_key(
    browser: Browser, llamas: Llamas, tmp_path: Path
) -> None:
    away = {"extra_http_headers": {"X-Forwarded-For": "203.0.113.9"}}
    async with (
        box(llamas, tmp_path) as daemon,
        open_tab(browser, daemon.url + "/ui", **away) as tab,
    ):
        said = tab.page.locator("#connection")
        await expect(said).to_contain_text("set ROUTER_ADMIN_API_KEY")
        assert await tab.overflow() == 0
        assert await tab.page.locator(".tile").count() == 0


async def test_earlier_decisions_and_what_they_cost(browser: Browser, tmp_path: Path) -> None:
    async with FaultServer(("ok",)) as server:
        backend = openai_backend("s", server.url, budget={"usd_per_day": 5.0})
        policy = {
            "backends": [backend],
            "rules": preferring("s/ok"),
            "models": [{"match": "s/*", "price": {"input": 50, "output": 50}}],
        }
        async with open_running(policy, tmp_path) as daemon:
            tasks = {"X-Task": "title"}
            await asyncio.gather(*(daemon.chat(f"Hello {number}") for number in range(40)))
            await asyncio.gather(*(daemon.chat("Hi", headers=tasks) for _ in range(20)))
            async with open_tab(browser, daemon.url + "/ui") as tab:
                rows = tab.page.locator(".decision")
                more = tab.page.get_by_role("button", name="Earlier ones")
                await expect(rows).to_have_count(50)
                await more.click()
                await expect(rows).to_have_count(60)
                await expect(more).to_be_hidden()
                await daemon.chat("One more")
                await expect(rows).to_have_count(61)
                await tab.page.get_by_label("background tasks too").uncheck()
                await expect(rows.filter(visible=True)).to_have_count(41)
                await expect(tab.page.locator(".backends")).to_contain_text("of $5.00 today")
                assert await tab.complaints() == []


async def test_a_server_that_was_never_there_is_no_warning(
    browser: Browser, tmp_path: Path
) -> None:
    async with FaultServer(("ok",)) as server:
        absent = openai_backend("absent", f"http://127.0.0.1:{free_port()}/v1")
        policy = {"backends": [openai_backend("s", server.url), absent]}
        async with (
            open_running(policy, tmp_path) as daemon,
            open_tab(browser, daemon.url + "/ui") as tab,
        ):
            tile = tab.page.locator(".tile", has_text="backends up")
            await tab.page.locator(".backends .badge.dead").wait_for()
            await expect(tile).to_contain_text("1 of 2")
            await expect(tile).not_to_contain_class("warn")
            server.set_fault("/v1/models", "drop-before-headers")
            daemon.state.discovery.wake()
            await expect(tile).to_contain_text("0 of 2")
            await expect(tile).to_contain_class("warn")
            rows = (await daemon.get("/admin/backends")).data["backends"]
            assert {row["name"]: row["answered"] for row in rows} == {"s": True, "absent": False}
            # With another one up, one that was there and is not is still a warning.
            async with FaultServer(("ok",)) as other:
                edited = [*policy["backends"], openai_backend("other", other.url)]
                await reload(daemon, json.dumps({**policy, "backends": edited}))
                await expect(tile).to_contain_text("1 of 3")
                await expect(tile).to_contain_class("warn")
            assert await tab.complaints() == []


async def test_a_refused_chat_and_the_edit_that_mends_it(browser: Browser, tmp_path: Path) -> None:
    async with FaultServer(("a", "b")) as server:
        policy = {
            "backends": [openai_backend("s", server.url)],
            "rules": preferring("s/a", "s/b"),
            "models": [{"match": "*", "enabled": False}],
        }
        async with (
            open_running(policy, tmp_path) as daemon,
            open_tab(browser, daemon.url + "/ui") as tab,
        ):
            page = tab.page
            await page.get_by_text("No decisions yet").wait_for()
            assert (await daemon.chat("Hello")).status == 400
            row = page.locator(".decision").first
            await row.wait_for()
            assert "no model" in await row.inner_text()
            assert await row.locator(".bad").inner_text() == "no_capable_model"
            await row.click()
            dialog = page.get_by_role("dialog", name="Decision")
            await dialog.get_by_text("Not possible (2)").wait_for()
            assert await dialog.locator(".candidates").count() == 0
            assert "no model by rule 'default'" in await dialog.locator(".headline").inner_text()
            await dialog.get_by_role("button", name="Ask", exact=True).click()
            why = dialog.locator(".why", has_text="switched off in models (disabled)")
            await why.wait_for()
            await page.keyboard.press("Escape")
            await choose(page, "Policy")
            area = page.get_by_label("The policy's text")
            await expect(area).to_have_value(daemon.policy_file.read_text())
            await area.fill(json.dumps({**json.loads(await area.input_value()), "models": []}))
            await page.get_by_role("button", name="Try this edit").click()
            await page.locator(".moves", has_text="nobody → s/a").wait_for()
            assert (
                "1 would no longer be refused"
                in await page.locator("#panel-policy .headline").inner_text()
            )
            assert "not possible any more" not in await page.locator("#panel-policy").inner_text()
            assert await tab.complaints() == []


async def test_a_router_that_comes_back(browser: Browser, llamas: Llamas, tmp_path: Path) -> None:
    async with box(llamas, tmp_path) as daemon, open_tab(browser, daemon.url + "/ui") as tab:
        page: Page = tab.page
        await page.get_by_text("live", exact=True).wait_for()
        daemon.state.feed.close()
        await page.get_by_text("not connected").wait_for()
        await page.get_by_text("live", exact=True).wait_for()
        assert await tab.complaints() == []


async def test_a_connection_that_hangs(browser: Browser, tmp_path: Path) -> None:
    async with (
        FaultServer(("ok",)) as server,
        open_running({"backends": [openai_backend("s", server.url)]}, tmp_path) as daemon,
        open_tab(browser, "about:blank") as tab,
    ):
        page, said, streams = tab.page, tab.page.locator("#connection"), []
        page.on("request", lambda sent: streams.append(sent.url) if "events" in sent.url else None)
        await page.clock.install()
        await page.goto(daemon.url + "/ui")
        await expect(said).to_have_text("live")
        asked = page.locator(".tile", has_text="requests in a minute").locator(".value")
        await page.clock.pause_at(await page.evaluate("Date.now() / 1000") + 20)
        # Whatever comes shows that the router is there.
        for number in range(1, 4):
            await daemon.chat("Hello")
            await expect(asked).to_have_text(str(number))
            await page.clock.run_for(30_000)
        assert len(streams) == 1
        await page.clock.run_for(10_000)
        await expect(said).to_have_text("not connected: the router cannot be reached")
        await page.clock.run_for(500)
        await expect(said).to_have_text("live")
        assert len(streams) == 2
        # The next one hangs before it begins.
        await page.route("**/admin/events", lambda route: None)
        await page.clock.run_for(40_000)
        await expect(said).to_have_text("not connected: the router cannot be reached")
        async with page.expect_request("**/admin/events"):
            await page.clock.run_for(500)
        async with page.expect_event("requestfailed"):
            await page.clock.run_for(40_000)
        await page.unroute_all(behavior="ignoreErrors")
        await page.clock.resume()
        await expect(said).to_have_text("live")
        assert await tab.complaints() == []


async def test_the_key_may_take_its_time(browser: Browser, tmp_path: Path) -> None:
    async with (
        FaultServer(("ok",)) as server,
        open_running(
            {"backends": [openai_backend("s", server.url)], "auth": {"admin_key": "the-admin-key"}},
            tmp_path,
        ) as daemon,
        open_tab(browser, "about:blank") as tab,
    ):
        page = tab.page
        await page.clock.install()
        await page.goto(daemon.url + "/ui")
        key = page.get_by_role("dialog", name="Admin key").get_by_label("Key", exact=True)
        await key.wait_for()
        await page.clock.pause_at(await page.evaluate("Date.now() / 1000") + 1)
        await page.clock.run_for(100_000)
        await key.fill("the-admin-key")
        await page.keyboard.press("Enter")
        await expect(page.locator("#connection")).to_have_text("live")
