"""Numbers from a seed: splitmix64, the same on every machine and in every Python."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

T = TypeVar("T")
_MASK = (1 << 64) - 1


class Source:
    """A stream of numbers that its seed fixes."""

    __slots__ = ("_state",)

    def __init__(self, seed: int) -> None:
        self._state = seed & _MASK

    def bits(self) -> int:
        """The next 64 bits."""
        self._state = (self._state + 0x9E3779B97F4A7C15) & _MASK
        mixed = self._state
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
        return mixed ^ (mixed >> 31)

    def below(self, count: int) -> int:
        """A number from 0 to count - 1, each as likely as the next."""
        if count < 1:
            raise ValueError(f"below {count}")
        most = _MASK + 1 - (_MASK + 1) % count
        while (drawn := self.bits()) >= most:
            pass
        return drawn % count

    def between(self, low: int, high: int) -> int:
        """A number from low to high, both possible."""
        return low + self.below(high - low + 1)

    def choice(self, items: Sequence[T]) -> T:
        """One of the items."""
        return items[self.below(len(items))]

    def shuffle(self, items: Sequence[T]) -> list[T]:
        """The items in another order."""
        mixed = list(items)
        for last in range(len(mixed) - 1, 0, -1):
            other = self.below(last + 1)
            mixed[last], mixed[other] = mixed[other], mixed[last]
        return mixed

    def sample(self, items: Sequence[T], count: int) -> list[T]:
        """`count` different ones of the items."""
        return self.shuffle(items)[:count]


def mix(*parts: int | str) -> int:
    """One seed from several numbers and words (FNV-1a over their texts)."""
    folded = 0xCBF29CE484222325
    for byte in "\x1f".join(str(part) for part in parts).encode():
        folded = ((folded ^ byte) * 0x100000001B3) & _MASK
    return folded
