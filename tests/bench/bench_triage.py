#!/usr/bin/python3
"""Triage of a 2 GiB guest's sealed dump, without debug packages, against drgn's first stack with them.

    bench_triage.py [--runs N] [--folder FOLDER]

Prints times (goal: triage in at most 0.25 s) and ratios; fails only if it cannot measure.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from bench_guest import NAME, capture, crashed_guest, seconds, show
from images import Kernel, build_module
from product import run


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--kernel", default="6.1", help="default: 6.1, the newest one that drgn of Debian 12 knows")
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hvd-bench-", dir=options.folder) as text:
        folder = Path(text)
        with crashed_guest(options.kernel) as guest:
            dump, key = capture(guest, folder)
            kernel = guest.kernel
        elf = folder / "bench.elf"
        identity = ("--identity", key)
        print(f"guest: 2 GiB, Linux {kernel.release}; sealed dump of {dump.stat().st_size >> 20} MiB")
        runs = range(options.runs)
        ours = [seconds(lambda: run("hvdump-analyze", "triage", dump, *identity)) for _ in runs]
        quick = show("hvdump-analyze triage, sealed dump", ours, "(goal: at most 0.25)")
        extracted = [seconds(lambda: run("hvdump-extract", "partition", dump, NAME, "-o", elf, *identity))
                     for _ in range(3)]
        show("hvdump-extract partition, elf", extracted, f"{2048 / sorted(extracted)[1]:.0f} MiB/s")
        raw = folder / "bench.raw"
        show("hvdump-extract partition, raw", [seconds(lambda: run(
            "hvdump-extract", "partition", dump, NAME, "--format", "raw", "-o", raw, *identity)) for _ in range(3)])
        _drgn(kernel, elf, options.runs, quick)
    return 0


def _drgn(kernel: Kernel, elf: Path, runs: int, quick: float) -> None:
    """From its start to the first stack, on the extracted core."""
    if not kernel.has_debug_info:
        print("drgn: not measured, for there is no debug package: scripts/fetch-kernels --dbg")
        return
    script = ("import drgn, sys\n"
              "prog = drgn.Program()\n"
              "prog.set_core_dump(sys.argv[1])\n"
              "try: prog.load_debug_info(sys.argv[2:])\n"
              "except drgn.MissingDebugInfoError: pass\n"
              "from drgn.helpers.linux.percpu import per_cpu\n"
              "print(prog.stack_trace(per_cpu(prog['runqueues'], 0).curr))\n")
    command = ["/usr/bin/python3", "-c", script, elf, kernel.vmlinux, build_module(kernel),
               *sorted(kernel.debug_modules.glob("*.ko"))]

    def ask() -> None:
        said = subprocess.run(command, capture_output=True, text=True)
        if said.returncode != 0 or "panic" not in said.stdout:
            raise SystemExit(f"drgn shows no stack: {said.stderr[-500:]}")

    slow = show("drgn with DWARF, first stack of the core", [seconds(ask) for _ in range(runs)])
    print(f"ratio {slow / quick:.1f}")


if __name__ == "__main__":
    sys.exit(main())
