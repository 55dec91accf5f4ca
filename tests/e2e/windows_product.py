"""One captured guest that is like Windows, in its folder, and what is true of it."""

from __future__ import annotations

import struct
from functools import cached_property
from pathlib import Path
from typing import Any

from product import Product
from windows_guest import VARIANTS, Truth


class Windows(Product):
    @cached_property
    def truth(self) -> Truth:
        return Truth(self.console, (self.folder / "registers").read_text(), Path(self.facts["images"]))

    @property
    def crashes(self) -> bool:
        return "live" not in VARIANTS[self.scenario]

    @property
    def cpu_count(self) -> int:
        return 4 if self.crashes else 1

    def expected_stack(self, thread: int, rip: int | None) -> list[tuple[int, bool]]:
        """Addresses from where it is to its first function, and whether each is a return address."""
        calls = self.truth.calls.get(thread, [])
        return ([(rip, False)] if rip is not None else []) + calls[::-1]

    def user_secret(self, process: int) -> bytes:
        """What the loader has put into a page that only this process has mapped."""
        return struct.pack("<QQQ", 0x5453455743455355, self.facts["seed"], process)


def tenant_of(report: Any) -> Any:
    return next(p for p in report["partitions"] if p["name"] == "tenant" or len(report["partitions"]) == 1)
