"""What is loaded where, as the backends themselves report it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class Residency:
    """`resident` and `slots` are replaced as a whole, so a decision's view of them is frozen.

    A backend that does not tell what it has loaded is believed to hold the model it served last.
    """

    def __init__(self) -> None:
        self.resident: frozenset[str] = frozenset()
        self.slots: Mapping[str, int] = {}
        self._reported: dict[str, dict[str, bool | None]] = {}
        self._last: dict[str, str] = {}

    def report(
        self, backend: str, loaded: Mapping[str, bool | None], slots: Mapping[str, int]
    ) -> None:
        """What one backend says now: model id -> loaded (None: it does not tell), and slots."""
        self._reported[backend] = dict(loaded)
        others = {model: number for model, number in self.slots.items() if not _of(backend, model)}
        self.slots = {**others, **slots}
        self._rebuild()

    def forget(self, backend: str) -> None:
        """A backend is gone."""
        self._reported.pop(backend, None)
        self._rebuild()

    def used(self, model: str) -> None:
        """A model has just answered, so it is loaded, whatever was reported before."""
        backend = model.partition("/")[0]
        reported = self._reported.get(backend)
        if reported and reported.get(model) is False:
            reported[model] = True
            self._rebuild()
        if self._last.get(backend) != model:
            self._last[backend] = model
            self._rebuild()

    def _rebuild(self) -> None:
        resident = set()
        for backend, models in self._reported.items():
            for model, loaded in models.items():
                if loaded or (loaded is None and self._last.get(backend) == model):
                    resident.add(model)
        self.resident = frozenset(resident)


def _of(backend: str, model: str) -> bool:
    return model.startswith(backend + "/")
