"""What is to be measured of a model, step by step, and how long each step may take. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from llmrouterd.catalog import Model, Profile
    from llmrouterd.policy_profiling import Profiling

# What a step has found, as JSON can hold it.
Result: TypeAlias = dict[str, Any]

# A chat template, and words that are more than one token.
_MARGIN = 64
_SHORT_PROMPT = 32
_SHORT_ANSWER = 16
_DEFAULT_CONTEXT = 4096
_RELOAD_SECONDS = 10.0
# Before anything is known: tokens per second of an 8B model on a modest box.
_GUESSED_DECODE, _GUESSED_PREFILL, _GUESSED_LOAD = 10.0, 100.0, 10.0

SPEED_KINDS = frozenset({"load", "prompt", "output", "parallel", "reload"})


class Step(NamedTuple):
    """`key` names the step in the stored record, and holds all that its result depends on.

    kind: load | prompt | output | parallel | reload | probe | answer | judge. amount: tokens
    of the prompt or the output, or streams at once.
    """

    key: str
    kind: str
    amount: int = 0


def speed_steps(model: Model, slots: int, profiling: Profiling) -> tuple[Step, ...]:
    """The steps that measure speed and memory, in their order."""
    found = [Step("load", "load")]
    context = model.context or _DEFAULT_CONTEXT
    room = max(16, context - _MARGIN - _SHORT_ANSWER)
    lengths = sorted({min(length, room) for length in profiling.prompt_tokens})
    found += [Step(f"prompt:{length}", "prompt", length) for length in lengths]
    longest = max(8, context - _MARGIN - _SHORT_PROMPT)
    outputs = {min(profiling.output_tokens * share, longest) for share in (1, 2)}
    found += [Step(f"output:{length}", "output", length) for length in sorted(outputs)]
    found += [
        Step(f"parallel:{streams}", "parallel", streams)
        for streams in range(2, min(slots, profiling.parallel) + 1)
    ]
    if profiling.reload and not (model.remote or model.pinned):
        found.append(Step("reload", "reload"))
    return tuple(found)


def prompt_length(step: Step) -> int:
    """Tokens of a step's prompt, about."""
    return step.amount if step.kind == "prompt" else _SHORT_PROMPT


def output_length(step: Step, profiling: Profiling) -> int:
    """The most tokens that a step generates in one answer."""
    if step.kind not in ("load", "prompt", "parallel", "reload"):
        return step.amount
    return profiling.output_tokens if step.kind == "parallel" else _SHORT_ANSWER


def expected_seconds(step: Step, profile: Profile, profiling: Profiling) -> float:
    """About how long a step takes, by what is known so far."""
    decode = profile.decode_tokens_per_second or _GUESSED_DECODE
    prefill = profile.prefill_tokens_per_second or _GUESSED_PREFILL
    written = output_length(step, profiling)
    seconds = (profile.ttft_base_seconds or 0.0) + prompt_length(step) / prefill + written / decode
    if step.kind == "parallel":
        seconds *= step.amount / 2.0
    if step.kind in ("load", "reload"):
        seconds += profile.load_seconds or _GUESSED_LOAD
    return seconds + (_RELOAD_SECONDS / 4.0 if step.kind == "reload" else 0.0)
