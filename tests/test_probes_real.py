"""Probes put to a genuine small model on llama.cpp, from question to ability."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from llmrouterd.data import ROOT
from llmrouterd.probes import Probe, generate, verify
from llmrouterd.probes.result import ability, aggregate, parse_levels
from tests.support.llama import real_llama, smollm2_path


async def ask(session: aiohttp.ClientSession, url: str, probe: Probe) -> str:
    body: dict[str, Any] = {
        "messages": list(probe.messages),
        "max_tokens": min(probe.max_tokens, 60),
        "temperature": 0,
    }
    async with session.post(f"{url}/v1/chat/completions", json=body) as response:
        assert response.status == 200
        answer: str = (await response.json())["choices"][0]["message"]["content"]
        return answer


@pytest.mark.timeout(240)
async def test_a_small_model_knows_capitals_and_cannot_count() -> None:
    easy = [generate("capital", 1, seed) for seed in range(6)]
    hard = [generate("element", 3, seed) for seed in range(4)]
    hard += [generate("number_theory", 5, seed) for seed in range(3)]
    outcomes = []
    async with (
        real_llama(smollm2_path(), alias="smol", n_ctx=2048, n_parallel=1) as url,
        aiohttp.ClientSession() as session,
    ):
        for probe in [*easy, *hard]:
            outcomes.append((probe, verify(probe, await ask(session, url, probe)).passed))
    tallies = aggregate(outcomes)
    levels = parse_levels(json.loads(Path(ROOT / "probes.json").read_text(encoding="utf-8")))
    found = ability(tallies, levels)
    assert found["factual"].passed >= 3
    assert found["math"].passed <= 1
    # A model of 135 million parameters is far below one that is rated 1300, and not of no worth.
    assert -9 < found["factual"].mean < -2
    assert found["math"].mean < -1
    assert all(0.8 < result.sd < 3.2 for result in found.values())
