#!/usr/bin/python3
"""Sealed capture of a 2 GiB guest against QEMU's own dump-guest-memory (elf) of the same paused guest.

    bench_capture.py [--runs N] [--folder FOLDER]

Prints times and their ratio; fails only if it cannot measure.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from bench_guest import capture, crashed_guest, seconds, show
from check_memory import PAGE, mapped
from lab import qemu_dump


def cpu_seconds(pid: int) -> float:
    """Of a process and its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def cpu_seconds_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


CODECS = ("zstd", "lz4", "none")  # of the policy; the first is the default
OURS, QEMU = "hvdump-capture, sealed", "QEMU dump-guest-memory, elf"


class Timings:
    """Seconds, CPU seconds and sizes of several runs of several ways."""

    def __init__(self) -> None:
        self._times: dict[str, list[float]] = {}
        self._cpu: dict[str, float] = {}
        self._sizes: dict[str, int] = {}

    def take(self, what: str, folder: Path, work: Callable[[], object], pid: int | None = None) -> None:
        """Runs `work`, which is done by the process `pid` or else by children of this one."""
        os.sync()
        used = cpu_seconds_of_children() if pid is None else cpu_seconds(pid)
        self._times.setdefault(what, []).append(seconds(work))
        used = (cpu_seconds_of_children() if pid is None else cpu_seconds(pid)) - used
        self._cpu[what] = self._cpu.get(what, 0.0) + used
        newest = max(folder.iterdir(), key=lambda path: path.stat().st_mtime)
        self._sizes[what] = newest.stat().st_size

    def show(self, title: str) -> None:
        print(title)
        theirs = self._times[QEMU]
        for what, times in self._times.items():
            ratio = "" if what == QEMU else (f"; ratio {statistics.median(theirs) / statistics.median(times):.1f}, "
                                             f"of the best runs {min(theirs) / min(times):.1f}")
            show(f"  {what}", times, f"{self._sizes[what] >> 20} MiB, {self._cpu[what] / len(times):.2f} s of CPU{ratio}")


def share_not_zero(dump: Path) -> float:
    zero = bytes(PAGE)
    with mapped(dump) as data:
        pages = range(0, len(data) - PAGE, PAGE * 7)  # a sample
        return sum(data[at:at + PAGE] != zero for at in pages) / len(pages)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=3, help="each boots a guest")
    parser.add_argument("--folder", type=Path, help="where both write; default: the folder for temporary files")
    options = parser.parse_args()
    first, again = Timings(), Timings()
    share = 0.0
    with tempfile.TemporaryDirectory(prefix="hvd-bench-", dir=options.folder) as text:
        folder = Path(text)
        dump = folder / "qemu.elf"
        for _ in range(options.runs):
            with crashed_guest() as guest:
                # QEMU's dump touches all RAM, also what the guest never did, and so changes what a second one
                # meets; ours does not. Hence each guest is captured first, and then dumped for the first time.
                first.take(f"{OURS}, {CODECS[0]}", folder, lambda: capture(guest, folder, CODECS[0]))
                first.take(QEMU, folder, lambda: qemu_dump(guest, dump), guest.pid)
                share = share_not_zero(dump)
                for codec in CODECS:
                    again.take(f"{OURS}, {codec}", folder, lambda codec=codec: capture(guest, folder, codec))
                dump.unlink()
                again.take(QEMU, folder, lambda: qemu_dump(guest, dump), guest.pid)
            dump.unlink()
    print(f"guest: 2 GiB, {share:.0%} of its pages not zero; {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}")
    first.show("the first dump of a paused guest (goal: a ratio of at least 6)")
    again.show("a later one, when QEMU has touched all of its RAM")
    return 0


if __name__ == "__main__":
    sys.exit(main())
