#!/usr/bin/python3
"""Sealed capture of a 2 GiB guest against QEMU's own dump-guest-memory (elf) of the same paused guest.

    bench_capture.py [--runs N] [--folder FOLDER]

Prints times and their ratio (goal: at least 6); fails only if it cannot measure.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
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


def share_not_zero(dump: Path) -> float:
    zero = bytes(PAGE)
    with mapped(dump) as data:
        pages = range(0, len(data) - PAGE, PAGE * 7)  # a sample
        return sum(data[at:at + PAGE] != zero for at in pages) / len(pages)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where both write; default: the folder for temporary files")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hvd-bench-", dir=options.folder) as text, crashed_guest() as guest:
        folder = Path(text)
        theirs: list[float] = []
        ours: dict[str, list[float]] = {codec: [] for codec in CODECS}
        sizes, cpu = {}, dict.fromkeys(("qemu", *CODECS), 0.0)
        for _ in range(options.runs):  # in turns, so that what else the machine does meets both
            dump = folder / "qemu.elf"
            dump.unlink(missing_ok=True)
            os.sync()
            cpu["qemu"] -= cpu_seconds(guest.pid)
            theirs.append(seconds(lambda: qemu_dump(guest, dump)))
            cpu["qemu"] += cpu_seconds(guest.pid)
            for codec, times in ours.items():
                os.sync()
                cpu[codec] -= cpu_seconds_of_children()
                times.append(seconds(lambda: capture(guest, folder, codec)))
                cpu[codec] += cpu_seconds_of_children()
                sizes[codec] = (folder / "bench.hvd").stat().st_size
        share = share_not_zero(folder / "qemu.elf")
    print(f"guest: 2 GiB, {share:.0%} of its pages not zero; {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}")
    slow = show("QEMU dump-guest-memory, elf", theirs, f"2048 MiB, {cpu['qemu'] / options.runs:.2f} s of CPU")
    for codec, times in ours.items():
        quick = show(f"hvdump-capture, sealed, {codec}", times, f"{sizes[codec] >> 20} MiB, {cpu[codec] / options.runs:.2f} s of CPU")
        print(f"  {2048 / quick:.0f} MiB of RAM a second; ratio {slow / quick:.1f}, of the best runs "
              f"{min(theirs) / min(times):.1f} (goal, by default, that is zstd: at least 6)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
