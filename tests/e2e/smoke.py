#!/usr/bin/python3
"""Shows that the lab works: boots each scenario on each kernel and prints what came of it.

    smoke.py [--kernel NAME ...] [--scenario NAME ...] [--referees] [--keep FOLDER]

--referees also opens QEMU's own dump of each guest with every debugger (needs fetch-kernels --dbg).
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from images import Skip
from lab import SCENARIOS, Guest, Kernel, LabError, build_module, printed_call_trace, qemu_dump

COLUMNS = "{:<11} {:<10} {:>6} {:>6}  {:<15} {}"


def run_one(kernel: Kernel, scenario: str, workdir: Path, referees: bool) -> None:
    with Guest(workdir, f"{kernel.name}-{scenario}", kernel, scenario) as guest:
        guest.wait_ready()
        ready = f"{guest.seconds:.1f}"
        crashed, top = "-", ""
        if scenario == "idle":
            guest.pause()
        else:
            guest.wait_crashed()
            crashed = f"{guest.seconds:.1f}"
            top = " < ".join(e.symbol for e in printed_call_trace(guest.console())[:3])
        print(COLUMNS.format(scenario, kernel.name, ready, crashed, guest.status(), top), flush=True)
        if referees:
            show_referees(guest, workdir / f"{kernel.name}-{scenario}.qemu.elf")


def show_referees(guest: Guest, dump: Path) -> None:
    import referees

    qemu_dump(guest, dump)
    kernel = guest.kernel
    modules = [build_module(kernel), *sorted(kernel.debug_modules.glob("*.ko"))]
    for name, verdict in referees.verdicts(dump, kernel.vmlinux, modules).items():
        print(f"    {name:<10} {verdict}", flush=True)


@contextlib.contextmanager
def work_folder(keep: Path | None) -> Iterator[Path]:
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="hvdump-smoke-") as folder:
            yield Path(folder)
    else:
        keep.mkdir(parents=True, exist_ok=True)
        yield keep


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kernel", action="append", help="default: every kernel in the cache")
    parser.add_argument("--scenario", action="append", choices=SCENARIOS, help="default: all")
    parser.add_argument("--referees", action="store_true")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="leave consoles and dumps here")
    options = parser.parse_args()
    failures = 0
    print(COLUMNS.format("scenario", "kernel", "READY", "panic", "state", "printed trace"))
    with work_folder(options.keep) as workdir:
        kernels = [Kernel.find(n) for n in options.kernel] if options.kernel else Kernel.all()
        for kernel in kernels:
            for scenario in options.scenario or SCENARIOS:
                try:
                    run_one(kernel, scenario, workdir, options.referees)
                except (LabError, Skip, ValueError) as error:
                    failures += 1
                    print(f"{scenario} {kernel.name} FAILED: {error}", flush=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
