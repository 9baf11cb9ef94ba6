"""Questions with verifiable answers, made from a seed; what passes says how able a model is.

Pure: no clock, no files, no network, and nothing that a model writes is ever run.
"""

from llmrouterd.probes.checks import LEVELS, Probe, Verdict
from llmrouterd.probes.generate import CATEGORIES, battery, expected_tokens, from_id, generate
from llmrouterd.probes.verify import verify

__all__ = [
    "CATEGORIES",
    "LEVELS",
    "Probe",
    "Verdict",
    "battery",
    "expected_tokens",
    "from_id",
    "generate",
    "verify",
]
