"""Gates: what a model must have to be a candidate at all. Each has a name and a reason."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from llmrouterd.scorer import tool_tokens_for

if TYPE_CHECKING:
    from llmrouterd.catalog import Catalog, Model
    from llmrouterd.policy import Policy, Rule
    from llmrouterd.scorer import Load
    from llmrouterd.signals import Signals


class Rejection(NamedTuple):
    """Why a model is not a candidate. gate: the gate's name; reason: for a person."""

    model: str
    gate: str
    reason: str


class Gate:
    """The gates of one request. Hard ones come before those that may be bent."""

    __slots__ = ("_budgets", "_load", "_owner_pick", "_policy", "_rule", "_signals", "_spare")

    def __init__(
        self, rule: Rule, signals: Signals, policy: Policy, catalog: Catalog, load: Load
    ) -> None:
        self._rule = rule
        self._signals = signals
        self._policy = policy
        self._load = load
        self._budgets = {spec.name for spec in policy.backends if spec.budget}
        self._spare = all(model.fallback for model in catalog.models)
        wanted = rule.use
        if signals.kind == "embeddings":
            wanted = policy.server.embedding_model or None
        found = catalog.find(wanted) if wanted else None
        self._owner_pick = found.id if found else wanted

    def reason(self, model: Model) -> Rejection | None:
        """The first gate that the model fails, None if it passes all."""
        for gate in (self._declared, self._capable, self._required, self.budget, self._fits):
            found = gate(model)
            if found is not None:
                return Rejection(model.id, *found)
        standing = self._load.standing.get(model.id)
        if standing is not None and standing.state == "refused":
            return Rejection(model.id, "memory", standing.reason)
        for name, told in (("cooling", self._load.cooling), ("suspect", self._load.suspect)):
            if model.id in told:
                return Rejection(model.id, name, told[model.id])
        return None

    def budget(self, model: Model) -> tuple[str, str] | None:
        """What the backend's budget says against a model; never bent, and whoever names it."""
        if model.backend in self._load.spent:
            return "budget", self._load.spent[model.backend]
        if model.price is None and model.backend in self._budgets:
            return "budget", "its backend has a budget, and its price is not known (models[].price)"
        return None

    def _declared(self, model: Model) -> tuple[str, str] | None:
        rule = self._rule
        if not model.enabled:
            return "disabled", "switched off in models"
        if model.fallback and not self._spare:
            return "fallback", "only while no other backend serves a model"
        if self._owner_pick is not None and model.id != self._owner_pick:
            return "use", f"the choice here is {self._owner_pick}"
        if rule.only and not rule.only.match(model.id):
            return "only", f"rule {rule.name} allows only {', '.join(rule.only.texts)}"
        if rule.exclude.match(model.id):
            return "exclude", f"excluded by rule {rule.name}"
        return None

    def _capable(self, model: Model) -> tuple[str, str] | None:
        capabilities = model.capabilities
        if capabilities is None:
            return None
        if self._signals.kind == "embeddings":
            # The owner's pick counts more: llama.cpp does not tell that a server embeds.
            ok = "embedding" in capabilities or model.id == self._owner_pick
            return None if ok else ("capability", "makes no embeddings")
        if "chat" not in capabilities:
            return "capability", "does not chat"
        missing = self._signals.needs - capabilities
        return ("capability", f"has no {', '.join(sorted(missing))}") if missing else None

    def _required(self, model: Model) -> tuple[str, str] | None:
        need = self._rule.require
        if need.capabilities and not need.capabilities <= (model.capabilities or frozenset()):
            return "require", f"rule {self._rule.name} wants {', '.join(sorted(need.capabilities))}"
        size = model.size_b
        if need.min_size_b is not None and (size is None or size < need.min_size_b):
            return "require", f"smaller than {need.min_size_b:g}B, or of unknown size"
        if need.max_size_b is not None and (size is None or size > need.max_size_b):
            return "require", f"larger than {need.max_size_b:g}B, or of unknown size"
        if need.min_context is not None and (model.context or 0) < need.min_context:
            return "require", f"context below {need.min_context}"
        if need.max_price is not None and model.price and model.price[1] > need.max_price:
            return "require", f"costs more than {need.max_price:g} dollars for a million tokens"
        if need.resident and model.id not in self._load.resident:
            return "require", "not loaded now"
        return None

    def _fits(self, model: Model) -> tuple[str, str] | None:
        if model.context is None:
            return None
        prompt = self._signals.prompt_tokens + tool_tokens_for(model, self._signals)
        about = "" if self._signals.exact_tokens else "up to "
        if prompt >= model.context:
            return "context", f"the prompt has {about}{prompt} tokens, its context {model.context}"
        wanted = self._signals.max_tokens or 0
        if prompt + wanted > model.context:
            return (
                "answer_space",
                f"{about}{prompt} prompt tokens and {wanted} for the answer exceed its context "
                f"of {model.context}",
            )
        return None
