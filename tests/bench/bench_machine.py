#!/usr/bin/python3
"""A dead KVM host's vmcore, split by owner with both guests sealed, against makedumpfile -l -d 0; one thread each.

    bench_machine.py [--runs N] [--folder FOLDER]     FOLDER: where tests/e2e/host.py left a host; without it one is booted

Prints times and the ratio (goal: no slower); fails only if it cannot measure.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))

from bench_guest import seconds, show
from product import run

HOST = Path(__file__).resolve().parents[1] / "e2e" / "host.py"


def measure(folder: Path, scratch: Path, runs: int) -> None:
    vmcore = folder / "vmcore"
    guests = json.loads((folder / "host.json").read_text())["uuids"]
    recipients = [word for name in guests
                  for word in ("--recipient", f"{name}={_recipient(folder / f'{name}.key')}")]
    print(f"vmcore of {vmcore.stat().st_size >> 20} MiB with {len(guests)} guests")
    ours, theirs = scratch / "ours.hvd", scratch / "theirs.kdump"
    vmcore.read_bytes()  # into the page cache, for both alike
    mine, peer = [], []
    for _ in range(runs):
        mine.append(seconds(lambda: run("hvdump-capture", "machine", vmcore, *recipients, "--threads", "1", "-o", ours)))
        if shutil.which("makedumpfile"):
            theirs.unlink(missing_ok=True)
            peer.append(seconds(lambda: subprocess.run(["makedumpfile", "-l", "-d", "0", vmcore, theirs], check=True,
                                                       capture_output=True)))
    quick = show("hvdump-capture machine, sealed, 1 thread", mine, f"{ours.stat().st_size >> 20} MiB")
    if not peer:
        print("makedumpfile: not measured, since it is not installed")
        return
    slow = show("makedumpfile -l -d 0", peer, f"{theirs.stat().st_size >> 20} MiB")
    print(f"ratio {slow / quick:.2f}")


def _recipient(key: Path) -> str:
    return re.findall(r"age1[0-9a-z]+", key.read_text())[0]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hvd-bench-") as text:
        folder = options.folder or Path(text) / "host"
        if not options.folder:
            subprocess.run([HOST, folder, "--kernel", "6.1"], check=True)
        measure(folder, Path(text), options.runs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
