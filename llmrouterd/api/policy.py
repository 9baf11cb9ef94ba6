"""/admin/policy: the active policy, edits of it, and edits that are only tried."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from llmrouterd.api.body import read_body
from llmrouterd.api.state import STATE, json_response
from llmrouterd.edits import text_digest, write_policy
from llmrouterd.errors import BadRequest, Forbidden
from llmrouterd.policy_tests import describe_result
from llmrouterd.replay.comparison import describe_comparison

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aiohttp import web

    from llmrouterd.api.state import State
    from llmrouterd.policy_tests import Result
    from llmrouterd.problems import Problem


async def policy(request: web.Request) -> web.Response:
    """GET /admin/policy: the active policy, those before it, and the edit that was refused."""
    state = request.app[STATE]
    snapshot, rejected = state.current.snapshot, state.reloader.rejected
    return json_response(
        {
            "file": str(state.reloader.settings.policy),
            "active": {
                "digest": snapshot.policy.digest,
                "loaded_at": state.reloader.loaded_at,
                "generation": snapshot.generation,
                "rules": [rule.name for rule in snapshot.policy.rules],
                "backends": [spec.name for spec in snapshot.policy.backends],
                "tests": _tests_data(state.reloader.tested),
            },
            "rejected": None
            if rejected is None
            else {
                "digest": rejected.fingerprint,
                "at": rejected.at,
                "problems": _problems_data(rejected.problems),
            },
            "history": list(state.edits.history),
            "editable": snapshot.policy.server.edit_policy,
        }
    )


def _problems_data(problems: Iterable[Problem]) -> list[dict[str, Any]]:
    return [{**asdict(problem), "text": str(problem)} for problem in problems]


def _tests_data(results: tuple[Result, ...]) -> dict[str, Any]:
    """How many passed; those that did not, whole."""
    shown = [describe_result(result) for result in results if result.missed or result.skipped]
    return {
        "passed": len(results) - sum(item["status"] != "passed" for item in shown),
        "failed": [item for item in shown if item["status"] == "failed"],
        "skipped": [item for item in shown if item["status"] == "skipped"],
    }


async def reload(request: web.Request) -> web.Response:
    """POST /admin/reload: read the policy now; 422 with all problems if it is refused."""
    state = request.app[STATE]
    applied, problems = await state.reloader.reload("admin")
    digest = state.current.snapshot.policy.digest
    if applied:
        return json_response({"status": "ok", "digest": digest})
    return _refused(digest, problems)


def _refused(digest: str, problems: Iterable[Problem]) -> web.Response:
    told = list(problems)
    return json_response(
        {
            "error": {
                "message": "The policy was refused; the old one keeps serving.",
                "type": "invalid_policy",
                "param": None,
                "code": "invalid_policy",
            },
            "digest": digest,
            "problems": [str(problem) for problem in told],
            "places": _problems_data(told),
        },
        422,
    )


async def text(request: web.Request) -> web.Response:
    """GET /admin/policy/text: the file as it is now."""
    file = request.app[STATE].reloader.settings.policy
    try:
        content = await asyncio.to_thread(file.read_bytes)
    except OSError as error:
        raise Forbidden(f"{file} cannot be read: {error.strerror}.") from None
    return json_response(
        {
            "file": str(file),
            "digest": text_digest(content),
            "text": content.decode("utf-8", "replace"),
        }
    )


async def attempt(request: web.Request) -> web.Response:
    """POST /admin/policy/try: YAML in; its problems, its tests and what it would change out."""
    state = request.app[STATE]
    content = await read_body(request, state.current.snapshot.policy.server.limits)
    tried = await state.edits.attempt(content)
    compared = tried.comparison
    return json_response(
        {
            "digest": tried.digest or None,
            "problems": _problems_data(tried.problems),
            "tests": _tests_data(tried.results),
            "comparison": None if compared is None else describe_comparison(compared),
        }
    )


async def write(request: web.Request) -> web.Response:
    """PUT /admin/policy: write the file, where the policy allows it. 409 if it is not the one that
    If-Match names, 422 with all problems if it would be refused."""
    state = request.app[STATE]
    server = state.current.snapshot.policy.server
    if not server.edit_policy:
        raise Forbidden("The policy may not be edited here; set server.edit_policy in the file.")
    expected = request.headers.get("If-Match", "").strip('"')
    if not expected:
        raise BadRequest("If-Match must name the digest of the text that was edited.")
    content = await read_body(request, server.limits)
    # What was begun is finished, also when the client leaves: a thread that writes cannot be
    # stopped, and must not be left behind without the lock.
    return await asyncio.shield(_save(state, content, expected))


async def _save(state: State, content: bytes, expected: str) -> web.Response:
    async with state.edits.saving:
        if wrong := await state.edits.problems(content):
            return _refused(state.current.snapshot.policy.digest, wrong)
        file = state.reloader.settings.policy
        try:
            backup = await asyncio.to_thread(write_policy, file, content, expected)
        except OSError as error:
            raise Forbidden(f"{file} cannot be written: {error.strerror}.") from None
        applied, problems = await state.reloader.reload("page")
        digest = state.current.snapshot.policy.digest
        if not applied:  # somebody has written by other means meanwhile
            return _refused(digest, problems)
        return json_response({"digest": digest, "backup": str(backup)})
