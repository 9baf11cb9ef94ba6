"""Conversations keep their model; background tasks go to the smallest and change nothing; gates."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.conftest import Opener
from tests.support.daemon import Answer, Running, openai_backend
from tests.support.faults import FaultServer

TITLE = "### Task:\nGenerate a concise title summarizing the chat history."
TOOLS = [{"type": "function", "function": {"name": f"f{n}", "parameters": {}}} for n in range(36)]
CALL = {"id": "c1", "type": "function", "function": {"name": "f0", "arguments": "{}"}}
IMAGE = [
    {"type": "text", "text": "What is this?"},
    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
]
# Python goes to the coder, everything else to the talker, by clear margins.
RULES = [
    {"name": "code", "when": {"category": ["coding"]}, "prefer": {"s/coder": 5}},
    {"name": "default", "prefer": {"s/talker": 5}},
]


@pytest.fixture
async def backend() -> AsyncIterator[FaultServer]:
    rows: list[str | dict[str, Any]] = [
        {"id": "coder", "capabilities": ["completion", "tools", "vision"]},
        {"id": "talker", "capabilities": ["completion"]},
    ]
    async with FaultServer(rows) as server:
        yield server


@pytest.fixture
async def daemon(backend: FaultServer, open_daemon: Opener) -> Running:
    models = [{"match": "s/*", "size_b": 8, "context": 8192}]
    policy = {"backends": [openai_backend("s", backend.url)], "rules": RULES, "models": models}
    return await open_daemon(policy)


def _who(answer: Answer) -> str:
    assert answer.status == 200, answer.body
    return answer.headers["x-router-model"]


def _chat(id_: str) -> dict[str, str]:
    return {"X-OpenWebUI-Chat-Id": id_}


async def test_a_follow_up_keeps_the_model(daemon: Running) -> None:
    assert _who(await daemon.chat("Write python", headers=_chat("a"))) == "coder"
    # Five points for the talker are less than the eight that moving would cost.
    assert _who(await daemon.chat("And why is the sky blue?", headers=_chat("a"))) == "coder"
    assert _who(await daemon.chat("And why is the sky blue?", headers=_chat("b"))) == "talker"
    explained = await daemon.explain("And why is the sky blue?", headers=_chat("a"))
    terms = {row["model"]: row["terms"] for row in explained["ranked"]}
    assert terms["s/coder"]["stickiness"] == 8.0
    assert "stickiness" not in terms["s/talker"]


async def test_another_wins_by_a_margin(backend: FaultServer, open_daemon: Opener) -> None:
    rules = [{**RULES[0], "prefer": {"s/coder": 40}}, {**RULES[1], "prefer": {"s/talker": 20}}]
    policy = {"backends": [openai_backend("s", backend.url)], "rules": rules}
    daemon = await open_daemon(policy)
    assert _who(await daemon.chat("Why is the sky blue?", headers=_chat("a"))) == "talker"
    assert _who(await daemon.chat("Write python", headers=_chat("a"))) == "coder"  # 40 > 8
    assert _who(await daemon.chat("Why is the sky blue?", headers=_chat("a"))) == "talker"


async def test_stickiness_can_be_switched_off(backend: FaultServer, open_daemon: Opener) -> None:
    rules = [{**rule, "weights": {"stickiness": 0}} for rule in RULES]
    policy = {"backends": [openai_backend("s", backend.url)], "rules": rules}
    daemon = await open_daemon(policy)
    assert _who(await daemon.chat("Write python", headers=_chat("a"))) == "coder"
    assert _who(await daemon.chat("Why is the sky blue?", headers=_chat("a"))) == "talker"


async def test_a_conversation_is_known_by_its_beginning_without_a_header(daemon: Running) -> None:
    start = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Write python"}]
    assert _who(await daemon.chat(start)) == "coder"
    more = [
        *start,
        {"role": "assistant", "content": "Done."},
        {"role": "user", "content": "And why is the sky blue, and the grass green, tell me"},
    ]
    assert _who(await daemon.chat(more)) == "coder"
    other = [{"role": "system", "content": "Be brief."}, *more[1:]]
    first = await daemon.explain(more)
    second = await daemon.explain(other)
    assert first["signals"]["session"] != second["signals"]["session"]


async def test_a_model_that_fails_loses_the_conversation(
    daemon: Running, backend: FaultServer
) -> None:
    assert _who(await daemon.chat("Write python", headers=_chat("a"))) == "coder"
    backend.fail_times("coder", 1)
    assert _who(await daemon.chat("Why is the sky blue?", headers=_chat("a"))) == "talker"
    assert _who(await daemon.chat("Why is the sea blue?", headers=_chat("a"))) == "talker"


async def test_a_tool_loop_keeps_its_model(backend: FaultServer, open_daemon: Opener) -> None:
    """Handing a tool's result back is no moment to change: nothing short of a failure moves it."""
    backend.models = [
        {"id": name, "capabilities": ["completion", "tools"]} for name in ("coder", "talker")
    ]
    rules = [{**RULES[0], "prefer": {"s/coder": 100}}, {**RULES[1], "prefer": {"s/talker": 100}}]
    policy = {"backends": [openai_backend("s", backend.url)], "rules": rules}
    daemon = await open_daemon(policy)
    start = [{"role": "user", "content": "Write python"}]
    assert _who(await daemon.chat(start, headers=_chat("a"), tools=TOOLS)) == "coder"
    loop = [
        {"role": "user", "content": "Why is the sky blue?"},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c1", "content": "Rayleigh"},
    ]
    assert _who(await daemon.chat(loop, headers=_chat("a"), tools=TOOLS)) == "coder"
    after = [*loop, {"role": "assistant", "content": "So."}, {"role": "user", "content": "Why so?"}]
    assert _who(await daemon.chat(after, headers=_chat("a"), tools=TOOLS)) == "talker"


@pytest.fixture
async def sizes(open_daemon: Opener) -> AsyncIterator[tuple[Running, FaultServer]]:
    """Models of three sizes; the large one is preferred for chats."""
    async with FaultServer(["large", "middle", "tiny"]) as backend:
        daemon = await open_daemon(
            {
                "backends": [openai_backend("s", backend.url, remote=True)],
                "rules": [{"name": "default", "prefer": {"s/large": 500}}],
                "models": [
                    {"match": "s/large", "size_b": 70},
                    {"match": "s/middle", "size_b": 3},
                    {"match": "s/tiny", "size_b": 0.1},
                ],
            }
        )
        yield daemon, backend


async def test_tasks_go_to_the_smallest_that_is_large_enough(
    sizes: tuple[Running, FaultServer],
) -> None:
    daemon, _ = sizes
    assert _who(await daemon.chat("Hello", headers=_chat("a"))) == "large"
    answer = await daemon.chat(TITLE, headers=_chat("a"))
    assert _who(answer) == "middle"
    assert answer.headers["x-router-rule"] == "task:title"
    by_header = {"X-Task": "tags_generation"}
    assert _who(await daemon.chat("Whatever words", headers=by_header)) == "middle"


async def test_tasks_do_not_change_the_conversation(sizes: tuple[Running, FaultServer]) -> None:
    daemon, _ = sizes
    assert _who(await daemon.chat("Hello", headers=_chat("a"))) == "large"
    before = daemon.state.dispatcher.load(daemon.state.current.snapshot, "a").sticky
    assert _who(await daemon.chat(TITLE, headers=_chat("a"))) == "middle"
    after = daemon.state.dispatcher.load(daemon.state.current.snapshot, "a").sticky
    assert before == after == "s/large"


async def test_tasks_prefer_a_model_that_is_loaded(open_daemon: Opener) -> None:
    """A background task must not push a loaded model out of memory."""
    async with FaultServer(["one"]) as first, FaultServer(["two"]) as second:
        daemon = await open_daemon(
            {
                "backends": [openai_backend("a", first.url), openai_backend("b", second.url)],
                "rules": [{"name": "default", "prefer": {"b/two": 500}}],
                "models": [
                    {"match": "a/one", "size_b": 1},
                    {"match": "b/two", "size_b": 14},
                ],
            }
        )
        assert _who(await daemon.chat("Hello")) == "two"
        assert daemon.state.dispatcher.load(daemon.state.current.snapshot, "").resident == {"b/two"}
        assert _who(await daemon.chat(TITLE)) == "two"


async def test_a_task_model_can_be_named(open_daemon: Opener) -> None:
    async with FaultServer(["large", "small"]) as backend:
        daemon = await open_daemon(
            {
                "backends": [openai_backend("s", backend.url)],
                "models": [{"match": "s/large", "size_b": 70}, {"match": "s/small", "size_b": 1}],
                "tasks": {"model": "s/large"},
            }
        )
        assert _who(await daemon.chat(TITLE)) == "large"


async def test_offered_tools_are_no_need_but_are_dropped_where_useless(
    daemon: Running, backend: FaultServer
) -> None:
    fields: dict[str, Any] = {"tools": TOOLS, "tool_choice": "auto", "parallel_tool_calls": True}
    assert _who(await daemon.chat("Why is the sky blue?", **fields)) == "talker"
    sent = backend.asked[-1].body
    assert not {"tools", "tool_choice", "parallel_tool_calls"} & sent.keys()
    assert _who(await daemon.chat("Write python", **fields)) == "coder"
    sent = backend.asked[-1].body
    assert sent["tools"] == TOOLS
    assert sent["tool_choice"] == "auto"
    id_ = (await daemon.get("/admin/decisions?limit=2")).data["decisions"]
    kept = [(await daemon.get(f"/admin/decisions/{row['id']}")).data["record"] for row in id_]
    assert sorted(record["tools_dropped"] for record in kept) == [False, True]


@pytest.mark.parametrize(
    "choice", ["required", {"type": "function", "function": {"name": "f0"}}], ids=["any", "one"]
)
async def test_a_required_tool_is_a_need(
    choice: Any, daemon: Running, backend: FaultServer
) -> None:
    answer = await daemon.chat("Why is the sky blue?", tools=TOOLS, tool_choice=choice)
    assert _who(answer) == "coder"
    assert backend.asked[-1].body["tools"] == TOOLS


async def test_tool_calls_in_the_history_are_a_need(daemon: Running) -> None:
    history = [
        {"role": "user", "content": "Why is the sky blue?"},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c1", "content": "Rayleigh"},
    ]
    assert _who(await daemon.chat(history)) == "coder"


async def test_images_need_vision(daemon: Running) -> None:
    assert _who(await daemon.chat([{"role": "user", "content": IMAGE}])) == "coder"
    explained = await daemon.explain([{"role": "user", "content": IMAGE}])
    assert explained["signals"]["needs"] == ["vision"]
    (rejected,) = explained["rejected"]
    assert (rejected["model"], rejected["gate"]) == ("s/talker", "capability")
    assert "vision" in rejected["reason"]


async def test_a_need_that_nobody_has(daemon: Running, backend: FaultServer) -> None:
    answer = await daemon.chat("Hello", response_format={"type": "json_object"})
    assert (answer.status, answer.error["code"]) == (400, "no_capable_model")
    assert "json" in answer.error["message"]
    assert backend.asked == []


async def test_json_goes_to_a_model_that_has_it(open_daemon: Opener) -> None:
    rows: list[str | dict[str, Any]] = [
        {"id": "a", "capabilities": ["completion"]},
        {"id": "b", "capabilities": ["completion", "json"]},
    ]
    async with FaultServer(rows) as server:
        rules = [{"name": "default", "prefer": {"s/a": 500}}]
        daemon = await open_daemon({"backends": [openai_backend("s", server.url)], "rules": rules})
        assert _who(await daemon.chat("Hello")) == "a"
        wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}}
        assert _who(await daemon.chat("Hello", response_format=wanted)) == "b"
        assert server.asked[-1].body["response_format"] == wanted


async def test_a_prompt_that_fits_only_one(open_daemon: Opener) -> None:
    async with FaultServer(["short", "long"]) as server:
        daemon = await open_daemon(
            {
                "backends": [openai_backend("s", server.url)],
                "rules": [{"name": "default", "prefer": {"s/short": 500}}],
                "models": [
                    {"match": "s/short", "context": 512},
                    {"match": "s/long", "context": 100_000},
                ],
            }
        )
        assert _who(await daemon.chat("Hello")) == "short"
        assert _who(await daemon.chat("word " * 2000)) == "long"
        assert _who(await daemon.chat("Hello", max_tokens=1000)) == "long"
        too_long = await daemon.chat("word " * 200_000)
        assert (too_long.status, too_long.error["code"]) == (400, "no_capable_model")


async def test_only_the_humans_words_choose(daemon: Running) -> None:
    """Not the system prompt, not a document, not a tool's result."""
    document = "<source id=1>python python python</source>"
    disguised = [
        {"role": "system", "content": "You write python."},
        {"role": "user", "content": f"{document}\nWhy is the sky blue?"},
    ]
    assert (await daemon.explain(disguised))["signals"]["category"] != "coding"
    plain = [{"role": "user", "content": "Write python"}]
    assert (await daemon.explain(plain))["signals"]["category"] == "coding"
