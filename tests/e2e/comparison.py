"""Collects what a check compared, so that it can go on after a difference and never passes on nothing."""

from __future__ import annotations

from typing import Any


def _short(value: Any, limit: int = 600) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= limit else text[:limit] + f"... ({len(text)} characters)"


class Comparison:
    def __init__(self) -> None:
        self.made = 0
        self.failures: list[str] = []

    def that(self, truth: Any, what: str, why: Any = "") -> bool:
        """`what` must hold; `why` is shown if it does not."""
        self.made += 1
        if truth:
            print(f"  ok    {what}")
        else:
            self.failures.append(what)
            print(f"  WRONG {what}{': ' + _short(why, 3000) if why != '' else ''}")
        return bool(truth)

    def equal(self, ours: Any, theirs: Any, what: str) -> bool:
        if ours == theirs:
            return self.that(True, f"{what}: {_short(ours, 120)}")
        return self.that(False, what, f"\n      ours   {_short(ours, 1500)}\n      theirs {_short(theirs, 1500)}")

    def note(self, text: str) -> None:
        print(f"        {text}")

    def verdict(self) -> int:
        if self.made == 0:
            print("FAILED: nothing was compared")
            return 1
        print(f"{self.made} comparisons, {len(self.failures)} wrong")
        return 1 if self.failures else 0
