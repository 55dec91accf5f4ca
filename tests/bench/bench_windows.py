#!/usr/bin/python3
"""A Windows-like guest of 2 GiB: its extraction to a bitmap dump, and its triage from the sealed dump without a PDB.

    bench_windows.py [--runs N] [--folder FOLDER]

Prints times, beside QEMU's own win-dmp of the same guest (goals: 1 GB/s of guest memory, 0.25 s); fails only if it
cannot measure.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from bench_guest import NAME, capture, seconds, show  # puts the lab on the path

from product import run
from windows_guest import WindowsGuest

MEMORY = 2 << 30
NOT_ZERO = 320 << 20  # half of it noise


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hvd-bench-", dir=options.folder) as text:
        folder = Path(text)
        theirs = folder / "qemu.dmp"
        with WindowsGuest(folder, NAME, "note", mem="2G", append=f"fill={NOT_ZERO:x}") as guest:
            guest.wait_crashed(300)

            def qemu_dump() -> None:
                theirs.unlink(missing_ok=True)
                guest.qmp("dump-guest-memory", paging=False, format="win-dmp", protocol=f"file:{theirs}")

            slow = show("QEMU's win-dmp of the paused guest", [seconds(qemu_dump) for _ in range(3)])
            guest.release_qmp()
            dump, key = capture(guest, folder)
        theirs.unlink()
        identity = ("--identity", key)
        print(f"guest: 2 GiB; sealed dump of {dump.stat().st_size >> 20} MiB")
        quick = show("hvdump-analyze triage, sealed dump, no PDB",
                     [seconds(lambda: run("hvdump-analyze", "triage", dump, *identity)) for _ in range(options.runs)],
                     "(goal: at most 0.25)")
        for kind in ("bitmap", "full", "kernel", "triage"):
            out = folder / f"{kind}.dmp"

            def extract() -> None:
                out.unlink(missing_ok=True)
                run("hvdump-extract", "partition", dump, NAME, "--format", "dmp", "--dmp-type", kind, "-o", out, *identity)

            taken = [seconds(extract) for _ in range(options.runs)]
            rate = MEMORY / sorted(taken)[len(taken) // 2] / 1e9
            median = show(f"hvdump-extract, {kind}", taken, f"{rate:.2f} GB/s of guest memory"
                          + (" (goal: 1)" if kind == "bitmap" else ""))
            if kind == "full":
                print(f"ratio to QEMU's, which is of a live guest and in the clear: {slow / median:.1f}")
            out.unlink()
        print(f"triage {0.25 / quick:.1f} times as quick as it has to be")
    return 0


if __name__ == "__main__":
    sys.exit(main())
