"""The one mutable cell: what the daemon believes now, read once by each request."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from llmrouterd.catalog import Catalog
from llmrouterd.classifier.examples import Examples

if TYPE_CHECKING:
    from llmrouterd.policy import Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One world: a policy, the models, what the owner has corrected, and how many worlds there
    were before it."""

    policy: Policy
    catalog: Catalog
    examples: Examples = field(default_factory=Examples)
    generation: int = 0


class Current:
    """Holds the current Snapshot. `swap` is one assignment without an await, so whoever reads
    `snapshot` has the old world or the new, never both."""

    def __init__(self, policy: Policy) -> None:
        self.snapshot = Snapshot(policy=policy, catalog=Catalog())

    def swap(
        self,
        *,
        policy: Policy | None = None,
        catalog: Catalog | None = None,
        examples: Examples | None = None,
    ) -> Snapshot:
        """Replace the parts that are given."""
        before = self.snapshot
        self.snapshot = replace(
            before,
            policy=policy if policy is not None else before.policy,
            catalog=catalog if catalog is not None else before.catalog,
            examples=examples if examples is not None else before.examples,
            generation=before.generation + 1,
        )
        return self.snapshot
