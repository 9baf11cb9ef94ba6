"""What a model can do: probes with verifiable answers, and a judge for what has none.

Every probe is a step of its own, so an interruption costs one answer. A probe that ran out of
time has no verdict; it is not a wrong answer.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import lru_cache
from statistics import fmean
from typing import TYPE_CHECKING, Any

from llmrouterd.catalog import Judged, Profile
from llmrouterd.errors import UpstreamError
from llmrouterd.probes import Probe, battery, verify
from llmrouterd.probes.judge import (
    JUDGED,
    JudgedPrompt,
    build_judge_messages,
    parse_judgement,
    select_prompts,
    to_chance,
)
from llmrouterd.probes.result import aggregate
from llmrouterd.profiling.generation import Run, count
from llmrouterd.profiling.steps import Step

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from llmrouterd.catalog import Catalog, Model
    from llmrouterd.policy import Policy
    from llmrouterd.policy_profiling import Profiling
    from llmrouterd.profiling.generation import Generator
    from llmrouterd.profiling.steps import Result

# Of a context, the part that a long text to recall from may take.
_RECALL_SHARE, _LONGEST_RECALL, _SHORTEST_RECALL = 0.5, 4000, 150
_DEFAULT_CONTEXT = 4096
# Room for thoughts, which come before the answer and count like it.
_THINKING_TOKENS = 1500
_JUDGED_TOKENS, _JUDGEMENT_TOKENS = 600, 300
_PATIENCE = 3.0
_LEAST_SECONDS = 10.0
_CHARACTERS_PER_TOKEN = 3.0
_MOST_CHARACTERS = 12_000


def find_judge(profiling: Profiling, catalog: Catalog) -> Model | None:
    """The judge, if there is one and it is served now."""
    return catalog.find(profiling.judge.model) if profiling.judge.model else None


def ability_steps(model: Model, profiling: Profiling, judge: Model | None) -> tuple[Step, ...]:
    """The probes of one model; then the answers for the judge, and its judgements at the end, so
    that the two models change places in memory once. Nothing for remote models: they cost."""
    steps: list[Step] = []
    if profiling.abilities.enabled and not model.remote:
        steps += [
            Step(f"probe:{probe.id}", "probe", probe.max_tokens)
            for probe in probes_for(model, profiling)
        ]
    if judge is not None and judge.id != model.id and not model.remote:
        prompts = _judged_prompts(profiling)
        steps += [Step(f"answer:{prompt.id}", "answer", _JUDGED_TOKENS) for prompt in prompts]
        steps += [
            Step(f"judge:{judge.id}:{prompt.id}", "judge", _JUDGEMENT_TOKENS) for prompt in prompts
        ]
    return tuple(steps)


def probes_for(model: Model, profiling: Profiling) -> tuple[Probe, ...]:
    """The battery for a model: tool calls only where it can make them, long texts only where its
    context holds them."""
    context = model.context or _DEFAULT_CONTEXT
    longest = int(context * _RECALL_SHARE)
    return _battery(
        profiling.abilities.seed,
        profiling.abilities.per_category,
        bool(model.capabilities and "tools" in model.capabilities),
        max(_SHORTEST_RECALL, min(_LONGEST_RECALL, longest)),
    )


@lru_cache(maxsize=16)
def _battery(seed: int, per_category: int, tools: bool, longest: int) -> tuple[Probe, ...]:
    return battery(seed, per_category, tools=tools, longest=longest)


@lru_cache(maxsize=4)
def _prompts(per_category: int, seed: int) -> tuple[JudgedPrompt, ...]:
    return tuple(
        prompt for category in JUDGED for prompt in select_prompts(category, per_category, seed)
    )


def _judged_prompts(profiling: Profiling) -> tuple[JudgedPrompt, ...]:
    return _prompts(profiling.judge.per_category, profiling.abilities.seed)


def with_abilities(
    before: Profile, model: Model, done: Mapping[str, Result], profiling: Profiling
) -> Profile:
    """The profile with the counts of the probes answered so far, and the judge's means."""
    found: list[tuple[Probe, bool | None]] = []
    for probe in probes_for(model, profiling):
        result = done.get(f"probe:{probe.id}", {})
        if "passed" in result or "timeout" in result:
            found.append((probe, result.get("passed")))
    judged = tuple(_judgements(done))
    return replace(
        before,
        abilities=aggregate(found) if found else before.abilities,
        judged=judged or before.judged,
    )


def _judgements(done: Mapping[str, Result]) -> Iterable[Judged]:
    chances: dict[tuple[str, str], list[float]] = {}
    for key, result in done.items():
        if key.startswith("judge:") and "score" in result:
            chance = to_chance(result["score"])
            chances.setdefault((result["category"], result["judge"]), []).append(chance)
    for (category, judge), given in sorted(chances.items()):
        chance = round(fmean(given), 4)
        yield Judged(category=category, judge=judge, chance=chance, answers=len(given))


def patience(profile: Profile, step: Step, prompt_characters: int, thinks: bool) -> float | None:
    """Seconds that an answer may take at the model's own speed, with room; None where that is
    not known. A load is added, for another model may have taken its place meanwhile."""
    decode, prefill = profile.decode_tokens_per_second, profile.prefill_tokens_per_second
    if not decode:
        return None
    written = (step.amount + (_THINKING_TOKENS if thinks else 0)) / decode
    read = prompt_characters / _CHARACTERS_PER_TOKEN / prefill if prefill else 0.0
    load = max(profile.load_seconds or 0.0, profile.warm_load_seconds or 0.0)
    first = (profile.ttft_base_seconds or 0.0) + read
    return max(_LEAST_SECONDS, written * _PATIENCE + first * _PATIENCE + load)


def probe_result(probe: Probe, choice: Mapping[str, Any]) -> Result:
    """Passed or not; `timeout` where thoughts took all the room, and there is no answer to judge.
    choice: of a chat completion."""
    message = choice.get("message") or {}
    text, calls = str(message.get("content") or ""), message.get("tool_calls") or ()
    thinking = not text.strip() or ("<think>" in text and "</think>" not in text)
    if choice.get("finish_reason") == "length" and thinking and not calls:
        return {"timeout": True}
    return {"passed": verify(probe, text, tuple(calls)).passed}


class AbilityBench:
    """Asks the probes and the judge on the real backends."""

    def __init__(self, generator: Generator) -> None:
        self._generator = generator

    async def run(
        self, step: Step, model: Model, done: Mapping[str, Result], world: tuple[Policy, Catalog]
    ) -> Result:
        """The result of one step. Raises UpstreamError."""
        policy, catalog = world
        profiling = policy.profiling
        if step.kind == "probe":
            wanted = step.key.removeprefix("probe:")
            probe = next(p for p in probes_for(model, profiling) if p.id == wanted)
            return await self._probe(step, model, probe, policy)
        name = step.key.removeprefix("answer:")
        if step.kind == "answer":
            prompt = _find(name, profiling)
            return await self._answer(step, model, prompt, policy)
        judge = find_judge(profiling, catalog)
        if judge is None:
            raise UpstreamError(f"the judge {profiling.judge.model} is not served now")
        prompt = _find(step.key.removeprefix(f"judge:{judge.id}:"), profiling)
        return await self._judge(judge, prompt, done, policy)

    async def _probe(self, step: Step, model: Model, probe: Probe, policy: Policy) -> Result:
        body: dict[str, Any] = {
            "messages": list(probe.messages),
            "max_tokens": _budget(step, model),
            "temperature": 0,
        }
        if probe.tools:
            body["tools"] = list(probe.tools)
        run = await self._patiently(step, model, body, policy)
        if run is None:
            return {"timeout": True}
        return probe_result(probe, run.answer["choices"][0])

    async def _answer(
        self, step: Step, model: Model, prompt: JudgedPrompt, policy: Policy
    ) -> Result:
        body = {
            "messages": [{"role": "user", "content": prompt.prompt}],
            "max_tokens": _budget(step, model),
            "temperature": 0.7,
        }
        run = await self._patiently(step, model, body, policy)
        if run is None:
            return {"timeout": True}
        return {"text": _text(run)[:_MOST_CHARACTERS]}

    async def _judge(
        self, judge: Model, prompt: JudgedPrompt, done: Mapping[str, Result], policy: Policy
    ) -> Result:
        """One grading, with one more try where the judge's words cannot be read."""
        text = done.get(f"answer:{prompt.id}", {}).get("text")
        if not text:
            return {"skipped": "there is no answer to judge"}
        spent = sum(
            result.get("tokens", 0) for key, result in done.items() if key.startswith("judge:")
        )
        body = {
            "messages": list(build_judge_messages(prompt, text)),
            "max_tokens": _JUDGEMENT_TOKENS,
            "temperature": 0,
        }
        step = Step("judge", "judge", _JUDGEMENT_TOKENS)
        tokens = 0
        for _ in range(2):
            if spent + tokens >= policy.profiling.judge.budget_tokens:
                return {"skipped": "the judge's budget is spent", "tokens": tokens}
            run = await self._patiently(step, judge, body, policy)
            if run is None:
                return {"skipped": "the judge took too long", "tokens": tokens}
            usage = run.answer.get("usage") or {}
            tokens += count(usage.get("prompt_tokens")) + count(usage.get("completion_tokens"))
            score = parse_judgement(_text(run))
            if score is not None:
                found = {"score": score, "tokens": tokens, "judge": judge.id}
                return {**found, "category": prompt.category}
        return {"skipped": "the judge's words could not be read", "tokens": tokens}

    async def _patiently(
        self, step: Step, model: Model, body: dict[str, Any], policy: Policy
    ) -> Run | None:
        """The answer; None where it took longer than it may at the model's speed."""
        spec = policy.backend(model.backend)
        if spec is None:
            raise UpstreamError(f"backend {model.backend} is gone")
        characters = sum(len(str(message["content"])) for message in body["messages"])
        limit = patience(model.profile, step, characters, _thinks(model))
        try:
            async with asyncio.timeout(limit):
                async with self._generator.place(model):
                    return await self._generator.generate(spec, model, body)
        except TimeoutError:
            return None


def _find(name: str, profiling: Profiling) -> JudgedPrompt:
    return next(prompt for prompt in _judged_prompts(profiling) if prompt.id == name)


def _thinks(model: Model) -> bool:
    return bool(model.capabilities and "thinking" in model.capabilities)


def _budget(step: Step, model: Model) -> int:
    return step.amount + (_THINKING_TOKENS if _thinks(model) else 0)


def _text(run: Run) -> str:
    message = run.answer["choices"][0].get("message") or {}
    return str(message.get("content") or "")
