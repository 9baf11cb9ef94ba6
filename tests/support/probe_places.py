"""What the tests of probes share: places of probes, and short forms of their answers."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from llmrouterd.probes import (
    LEVELS,
    Probe,
)
from llmrouterd.probes.generate import KINDS

ALL = [(kind, level) for kind in KINDS for level in LEVELS]
probe_ids = st.tuples(st.sampled_from(ALL), st.integers(0, 2**31))
bounded = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def short_reference(probe: Probe) -> str:
    return probe.reference.removeprefix("Answer: ")


def as_calls(reference: str) -> list[dict[str, Any]]:
    return [
        {
            "id": str(place),
            "type": "function",
            "function": {"name": call["name"], "arguments": json.dumps(call["arguments"])},
        }
        for place, call in enumerate(json.loads(reference))
    ]
