"""Which guests the end-to-end tests boot. Run as a program it lists their names, for CMake."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

CRASHES = ("sysrq", "null", "bug", "softlockup", "oom", "irq")


@dataclass(frozen=True)
class Recipe:
    kernel: str
    scenario: str
    options: dict[str, Any] = field(default_factory=dict)  # of lab.Guest


RECIPES = {f"{kernel}-{crash}": Recipe(kernel, crash) for kernel in ("6.1", "6.12") for crash in CRASHES} | {
    # CPU "max" has 5-level paging, EPYC has not.
    "6.12-cloud-novmcoreinfo": Recipe("6.12-cloud", "null", {"vmcoreinfo": False}),
    "6.1-cloud-private": Recipe("6.1-cloud", "bug", {"shared_ram": False, "cpu": "EPYC"}),
    "6.1-idle-4level": Recipe("6.1", "idle", {"cpu": "EPYC"}),
    # Memory below and above the hole at 4 GiB.
    "6.12-idle-3g": Recipe("6.12", "idle", {"mem": "3G", "cpus": 4}),
}

if __name__ == "__main__":
    print("\n".join(RECIPES))
