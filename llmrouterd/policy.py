"""The policy as the core sees it: names resolved, patterns compiled, defaults filled in.

Built by `llmrouterd.config` from router.yaml; every value is frozen, so a request that holds a
Policy sees one world until it ends.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import translate
from typing import TYPE_CHECKING

import re2

from llmrouterd.policy_budget import NO_BUDGET, Budget
from llmrouterd.policy_health import Failover, HealthLimits
from llmrouterd.policy_profiling import Profiling
from llmrouterd.policy_reading import Classification, Complexity, Reasoning
from llmrouterd.policy_residency import Queue, Residency

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from llmrouterd.chat import Validators
    from llmrouterd.classifier.lexicon import LexiconSet
    from llmrouterd.classifier.model import CategoryModel
    from llmrouterd.classifier.semantic import BlendedModel
    from llmrouterd.evidence.figures import Figures
    from llmrouterd.policy_cases import PolicyTests
    from llmrouterd.request_schema import Limits

GENERAL = "general"
PRESETS = ("quality", "balanced", "speed")


class Secret(str):
    """A text that never shows itself: its repr is a row of stars."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'" if self else "''"


class Globs:
    """A compiled set of globs. Empty matches nothing; `bool()` says whether there are any."""

    __slots__ = ("_pattern", "texts")

    def __init__(self, texts: Iterable[str]) -> None:
        self.texts = tuple(texts)
        joined = "|".join(_glob_to_re2(text) for text in self.texts)
        self._pattern = re2.compile(f"(?i:{joined})") if self.texts else None

    def __bool__(self) -> bool:
        return self._pattern is not None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Globs) and other.texts == self.texts

    def __hash__(self) -> int:
        return hash(self.texts)

    def __repr__(self) -> str:
        return f"Globs({list(self.texts)})"

    def match(self, text: str) -> bool:
        return self._pattern is not None and self._pattern.fullmatch(text) is not None


def _glob_to_re2(glob: str) -> str:
    # fnmatch writes a Python-only end anchor and atomic groups; both mean the same without.
    return translate(glob).replace(r"\Z", "").replace(r"\z", "").replace("(?>", "(?:")


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Seconds for each phase; 0 is no limit."""

    connect: float
    queue: float
    load: float
    first_token: float
    idle: float
    total: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ManagedModel:
    """One llama.cpp process that the daemon owns."""

    name: str
    model: str
    engine: str
    context: int
    parallel: int
    threads: int
    embeddings: bool
    args: tuple[str, ...]
    load_timeout: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendSpec:
    """A server of models, as declared. Equal specs share one client."""

    name: str
    type: str
    url: str
    api_key: Secret
    headers: tuple[tuple[str, str], ...]
    include: Globs
    exclude: Globs
    timeouts: Timeouts
    concurrency: int
    slots: int
    host: str
    poll_seconds: float
    start: str
    models: tuple[ManagedModel, ...]
    stream_usage: bool
    remote: bool
    budget: Budget = NO_BUDGET

    @property
    def fallback(self) -> bool:
        """Whether it serves only while no other backend does."""
        return self.start == "fallback"

    def serves(self, model: str) -> bool:
        """Whether the include and exclude globs let this model in."""
        if self.include and not self.include.match(model):
            return False
        return not self.exclude.match(model)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOverride:
    """What the owner knows better than the backend; None is 'not said'."""

    match: Globs
    enabled: bool | None
    aliases: tuple[str, ...]
    capabilities: frozenset[str] | None
    context: int | None
    size_b: float | None
    price: tuple[float, float] | None
    canonical: str | None
    quality: tuple[tuple[str, float], ...]
    num_ctx: int | None
    keep_alive: str | None
    pinned: bool | None
    vram: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Category:
    name: str
    lexicon: str
    boards: tuple[tuple[str, float], ...]
    output_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """Points of each term; `config/schema.json` says what each one means."""

    quality: float
    time: float
    cost: float
    stickiness: float
    tool_loop: float
    tools: float
    resident: float
    eviction: float
    pinned: float
    unknown: float
    risk: float


@dataclass(frozen=True, slots=True, kw_only=True)
class When:
    """Conditions of a rule; None matches everything."""

    category: frozenset[str] | None = None
    task: frozenset[str] | None = None
    needs: frozenset[str] | None = None
    min_complexity: float | None = None
    max_complexity: float | None = None
    min_prompt_tokens: int | None = None
    max_prompt_tokens: int | None = None
    client: frozenset[str] | None = None
    preset: frozenset[str] | None = None
    text: str | None = None

    @property
    def empty(self) -> bool:
        return self == When()


@dataclass(frozen=True, slots=True, kw_only=True)
class Require:
    capabilities: frozenset[str] = frozenset()
    min_size_b: float | None = None
    max_size_b: float | None = None
    min_context: int | None = None
    max_price: float | None = None
    resident: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """`weights` are whole, with the rule's single weights laid over each preset."""

    name: str
    when: When = field(default_factory=When)
    use: str | None = None
    only: Globs = field(default_factory=lambda: Globs(()))
    exclude: Globs = field(default_factory=lambda: Globs(()))
    prefer: tuple[tuple[Globs, float], ...] = ()
    require: Require = field(default_factory=Require)
    category: str | None = None
    preset: str | None = None
    weights: Mapping[str, Weights]


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumed:
    """Speeds of models that were never measured here."""

    decode_tokens_per_second: float
    prefill_tokens_per_second: float
    load_gigabytes_per_second: float
    remote_seconds: float
    remote_tokens_per_second: float
    size_b: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Scoring:
    preset: str
    discrimination: float
    difficulty: float
    patience_seconds: float
    generalist: float
    margin: float
    spread: float
    assumed: Assumed


@dataclass(frozen=True, slots=True, kw_only=True)
class Tasks:
    detect: bool
    max_tokens: int
    min_size_b: float
    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    host: str
    port: int
    model_name: str
    description: str
    expose_models: bool
    unknown_models: str
    signature: str
    generation_timeout: float
    embedding_model: str
    drain_seconds: float
    edit_policy: bool
    allowed_hosts: tuple[str, ...]
    allowed_origins: tuple[str, ...]
    trusted_proxies: tuple[str, ...]
    session_headers: tuple[str, ...]
    task_headers: tuple[str, ...]
    limits: Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """0 is no limit."""

    requests_per_minute: int
    concurrent: int
    tokens_per_minute: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientKey:
    """`digest` is the SHA-256 of the key; the key itself is not kept. priority: the best that its
    requests can have in the queue. user_header: by which it names its users, "" for none;
    user_limit: of each. load_models: whether it may do so."""

    name: str
    digest: bytes
    limit: RateLimit
    priority: str
    user_header: str = ""
    user_limit: RateLimit | None = None
    load_models: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Auth:
    """`admin_digest` is None where no admin key is set."""

    admin_digest: bytes | None
    clients: tuple[ClientKey, ...]
    client_limit: RateLimit
    admin_requests_per_minute: int
    failed_keys_per_minute: int

    def priority(self, client: str) -> str:
        """The best priority of a client's requests, by its key's name."""
        return next((one.priority for one in self.clients if one.name == client), "chat")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderSpec:
    """What the owner says of one source; `enabled` None is 'not said'."""

    enabled: bool | None = None
    url: str = ""
    api_key: Secret = field(default_factory=Secret)


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmarks:
    enabled: bool
    files: tuple[str, ...]
    seed: bool
    every_hours: float
    budget_seconds: float
    hf_token: Secret
    providers: Mapping[str, ProviderSpec]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sessions:
    minutes: float
    max: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    database: str
    decision_days: float
    queue: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Logging:
    level: str
    format: str
    prompts: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """All of router.yaml. `digest` changes when the file, a lexicon or a used setting does."""

    digest: str
    server: Server
    auth: Auth
    backends: tuple[BackendSpec, ...]
    models: tuple[ModelOverride, ...]
    categories: Mapping[str, Category]
    classification: Classification
    complexity: Complexity
    reasoning: Reasoning
    rules: tuple[Rule, ...]
    tests: PolicyTests
    scoring: Scoring
    tasks: Tasks
    pins: Globs
    sessions: Sessions
    failover: Failover
    health: HealthLimits
    profiling: Profiling
    benchmarks: Benchmarks
    residency: Residency
    queue: Queue
    storage: Storage
    logging: Logging
    lexicons: LexiconSet = field(repr=False, compare=False)
    model: CategoryModel | BlendedModel | None = field(repr=False, compare=False)
    figures: Figures = field(repr=False, compare=False)
    validators: Validators = field(repr=False, compare=False)

    def backend(self, name: str) -> BackendSpec | None:
        return next((spec for spec in self.backends if spec.name == name), None)

    def pins_model(self, id_: str) -> bool:
        """Whether a model is to stay loaded, by `pins` or by `models[].pinned`."""
        said = [each.pinned for each in self.models if each.match.match(id_)]
        told = [pinned for pinned in said if pinned is not None]
        return (bool(told) and told[-1]) or self.pins.match(id_)
