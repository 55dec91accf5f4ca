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
    print(f"vmcore of {vmcore.stat().st_size >> 20} MiB with {len(guests)} guests")
    vmcore.read_bytes()  # into the page cache, for both alike
    # A dump counts when it is on storage: hvdump-capture sees to that itself, makedumpfile leaves it to who calls it.
    # In memory there is nothing to wait for, which leaves the programs' own work.
    places = {"on storage": scratch}
    if Path("/dev/shm").is_dir():
        places["in memory"] = Path("/dev/shm")
    for where, place in places.items():
        with tempfile.TemporaryDirectory(prefix="hvd-bench-", dir=place) as text:
            _compare(where, vmcore, {name: folder / f"{name}.key" for name in guests}, Path(text), runs)


def _compare(where: str, vmcore: Path, keys: dict[str, Path], scratch: Path, runs: int) -> None:
    ours, theirs, policy = scratch / "ours.hvd", scratch / "theirs.kdump", scratch / "policy.json"

    def peer() -> None:
        theirs.unlink(missing_ok=True)
        subprocess.run(["makedumpfile", "-l", "-d", "0", vmcore, theirs], check=True, capture_output=True)
        subprocess.run(["sync", theirs], check=True)

    slow = 0.0
    if shutil.which("makedumpfile"):
        slow = show(f"makedumpfile -l -d 0, {where}", [seconds(peer) for _ in range(runs)], _size(theirs))
    else:
        print("makedumpfile: not measured, since it is not installed")
    for compression in ("zstd", "lz4"):
        policy.write_text(json.dumps({"vms": [
            {"match": name, "recipients": [_recipient(key)], "compression": compression} for name, key in keys.items()]}))

        def mine() -> None:
            ours.unlink(missing_ok=True)
            # One guest is in part swapped out, which is told as incomplete.
            run("hvdump-capture", "machine", vmcore, "--policy", policy, "--threads", "1", "-o", ours, expect=(0, 3))

        quick = show(f"hvdump-capture machine, sealed, {compression}", [seconds(mine) for _ in range(runs)], _size(ours))
        if slow:
            print(f"ratio {slow / quick:.2f}")


def _size(path: Path) -> str:
    return f"{path.stat().st_size >> 20} MiB"


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
