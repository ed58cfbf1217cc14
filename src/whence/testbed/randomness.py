"""A random number generator with the same output on every platform.

SplitMix64 on Python integers: no library's generator, no hash(), no floating point.

Source: Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014.
Names are mixed into the seed by FNV-1a (64 bits).
"""

from collections.abc import Sequence
from typing import TypeVar, final

T = TypeVar("T")

_MASK = (1 << 64) - 1


@final
class Stream:
    """A stream of random numbers, determined by a seed and some names.

    Streams with different names are independent, so that drawing more from one never changes
    another.

    Example:
        >>> Stream(0, "verse", 7).below(10) == Stream(0, "verse", 7).below(10)
        True
    """

    def __init__(self, seed: int, *names: str | int) -> None:
        state = 0xCBF29CE484222325
        for byte in "/".join(str(part) for part in (seed, *names)).encode("utf-8"):
            state = ((state ^ byte) * 0x100000001B3) & _MASK
        self._state = state

    def bits(self) -> int:
        """Draws 64 random bits."""
        self._state = (self._state + 0x9E3779B97F4A7C15) & _MASK
        z = self._state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
        return z ^ (z >> 31)

    def below(self, limit: int) -> int:
        """Draws an integer from 0 to `limit` - 1; the bias is below `limit` / 2**64."""
        return (self.bits() * limit) >> 64

    def choice(self, items: Sequence[T]) -> T:
        """Draws one of some items."""
        return items[self.below(len(items))]

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """Returns the items in random order (Fisher and Yates)."""
        order = list(items)
        for last in range(len(order) - 1, 0, -1):
            other = self.below(last + 1)
            order[last], order[other] = order[other], order[last]
        return order
