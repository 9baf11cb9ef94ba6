"""Findings that do not depend on one another, as one."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from llmrouterd.catalog import Evidence

if TYPE_CHECKING:
    from collections.abc import Iterable

    from llmrouterd.catalog import Finding


def combine(findings: Iterable[Finding]) -> Evidence:
    """Combine by precision (inverse variance). The order of the findings does not matter."""
    ordered = tuple(sorted(findings, key=lambda finding: (finding.source, finding.mean)))
    precision = math.fsum(finding.sd**-2 for finding in ordered)
    mean = math.fsum(finding.mean * finding.sd**-2 for finding in ordered) / precision
    return Evidence(mean=mean, sd=precision**-0.5, sources=ordered)
