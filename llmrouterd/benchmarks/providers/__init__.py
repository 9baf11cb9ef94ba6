"""The sources of published figures, by name. Pure: bytes become rows; nothing is fetched here."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from llmrouterd.benchmarks.providers.artificial_analysis import ArtificialAnalysis
from llmrouterd.benchmarks.providers.bfcl import Bfcl
from llmrouterd.benchmarks.providers.bigcodebench import BigCodeBench
from llmrouterd.benchmarks.providers.livebench import LiveBench
from llmrouterd.benchmarks.providers.lmarena import LmArena
from llmrouterd.benchmarks.providers.models_dev import ModelsDev
from llmrouterd.benchmarks.providers.open_llm_leaderboard import OpenLlmLeaderboard
from llmrouterd.benchmarks.providers.openevals import OpenEvals

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmrouterd.benchmarks.providers.base import Provider

_ALL: tuple[Provider, ...] = (
    OpenLlmLeaderboard(),
    LmArena(),
    BigCodeBench(),
    LiveBench(),
    Bfcl(),
    OpenEvals(),
    ArtificialAnalysis(),
    ModelsDev(),
)
PROVIDERS: Mapping[str, Provider] = MappingProxyType({one.about.name: one for one in _ALL})
