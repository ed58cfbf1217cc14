"""Memorized sequences: which a model reproduces, since when, and which training examples did it."""

from whence.memorization.windows import Windows, first_windows

__all__ = ["Windows", "first_windows"]
