"""A stored decision with all that re-deciding needs, and one policy over many of them. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmrouterd.assemble import build_model
from llmrouterd.catalog import Catalog, build_catalog, known_fields
from llmrouterd.catalog_file import read_load
from llmrouterd.decision import Ask, Decision, consider
from llmrouterd.signals import Signals

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmrouterd.catalog import Model, Sighting
    from llmrouterd.policy import Policy
    from llmrouterd.scorer import Load

_MOST_CATALOGS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """described: the stored form of the decision. world and seen: the digest of what its catalog
    was assembled of, and that by the digests of the sightings. at: Unix time."""

    id: str
    at: float
    described: Mapping[str, Any]
    signals: Signals
    load: Load
    world: str
    seen: Mapping[str, Sighting]

    @property
    def model(self) -> str | None:
        """The model that was chosen, None where the request was refused."""
        model: str | None = self.described["model"]
        return model


def read_recorded(
    row: Mapping[str, Any], described: Mapping[str, Any], seen: Mapping[str, Sighting]
) -> Recorded:
    """From a row of the table, its record as JSON gives it, and its world's sightings. Raises
    KeyError, TypeError or ValueError where it is of a version that cannot be read."""
    given = known_fields(Signals, described["signals"])
    if described["signals"].get("text_rules"):
        raise ValueError("it has the names of the rules whose text matched, not the texts")
    for name in ("needs", "texts"):
        given[name] = frozenset(given.get(name) or ())
    return Recorded(
        id=row["id"],
        at=row["at"],
        described=described,
        signals=Signals(**given),
        load=read_load(described["load"]),
        world=row["world"],
        seen=seen,
    )


class Replayer:
    """One policy over recorded decisions. What is built of a sighting or a world is kept, since
    most decisions share it."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self._models: dict[str, Model | None] = {}
        self._catalogs: dict[str, Catalog] = {}

    def decide(self, recorded: Recorded) -> Decision:
        """What this policy would have decided; nothing is ranked where it would have refused."""
        catalog, described = self._catalog(recorded), recorded.described
        ask = None
        if described["mode"] == "explicit":
            ids = [each["model"] for each in (*described["ranked"], *described["rejected"])]
            ask = Ask("", tuple(catalog.by_id[id_] for id_ in ids if id_ in catalog.by_id))
        return consider(recorded.signals, self.policy, catalog, recorded.load, ask)

    def _catalog(self, recorded: Recorded) -> Catalog:
        found = self._catalogs.get(recorded.world)
        if found is None:
            if len(self._catalogs) >= _MOST_CATALOGS:
                del self._catalogs[next(iter(self._catalogs))]
            models = [self._model(*member) for member in recorded.seen.items()]
            found = build_catalog(model for model in models if model is not None)
            self._catalogs[recorded.world] = found
        return found

    def _model(self, digest: str, sighting: Sighting) -> Model | None:
        if digest not in self._models:
            self._models[digest] = build_model(sighting, self.policy)
        return self._models[digest]
