#!/usr/bin/python3
"""Boots a Windows-like guest, lets it crash, and captures it; check_windows.py compares what came of it.

    produce_windows.py FOLDER --variant NAME
    produce_windows.py FOLDER --remove
    produce_windows.py --list                     the variants, for CMake
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

from images import LabError, Skip
from lab import qemu_dump
from produce import age_key
from product import Failure, Product, run
from windows_guest import VARIANTS, WindowsGuest


def produce(product: Product, variant: str) -> None:
    for tool in ("clang-19", "lld-link-19", "llvm-rc-19"):
        if not shutil.which(tool):
            raise Skip(f"{tool} is not installed: it builds the guest")
    recipient = age_key(product.key)
    with tempfile.TemporaryDirectory(prefix="hvd-") as scratch, \
            WindowsGuest(Path(scratch), "guest", variant) as guest:
        guest.wait_stopped()
        before = guest.status()
        registers = guest.qmp("human-monitor-command", command_line="info registers -a")
        qemu_dump(guest, product.qemu_dump)
        if "note" in VARIANTS[variant]:
            guest.qmp("dump-guest-memory", paging=False, format="win-dmp", protocol=f"file:{product.qemu_windows_dump}")
        guest.release_qmp()
        started = time.monotonic()
        run("hvdump-capture", "qemu", "--vm", f"tenant={guest.qmp_path}", "--recipient", f"tenant={recipient}",
            "-o", product.hvd)
        seconds = time.monotonic() - started
        after = guest.status()
        (product.folder / "console").write_text(guest.console())
        (product.folder / "registers").write_text(registers)
        product.facts_path.write_text(json.dumps({
            "name": "tenant", "scenario": variant, "images": str(guest.images), "seed": guest.seed,
            "arguments": guest.arguments, "status_after": after}, indent=1))
    print(f"{variant} ({guest.arguments}): {before}, captured in {seconds:.2f} s, {after}")
    if after != before:
        raise Failure(f"the guest was {before} before the capture and is {after} after it")
    run("hvdump-extract", "partition", product.hvd, "tenant", "--format", "raw", "-o", product.raw, "--identity", product.key)
    for kind in ("full", "bitmap", "kernel", "triage"):
        run("hvdump-extract", "partition", product.hvd, "tenant", "--format", "dmp", "--dmp-type", kind,
            "-o", product.windows_dump(kind), "--identity", product.key)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--variant", choices=VARIANTS, metavar="NAME")
    parser.add_argument("--remove", action="store_true")
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args()
    if options.list:
        print("\n".join(VARIANTS))
        return 0
    if not options.folder:
        parser.error("FOLDER is missing")
    product = Product(options.folder.resolve())
    try:
        product.remove()
        if options.variant:
            product.folder.mkdir(parents=True)
            produce(product, options.variant)
    except Skip as reason:
        (product.folder / "skipped").write_text(str(reason))
        print(f"SKIPPED: {reason}")
        return 77
    except (Failure, LabError) as error:
        print(f"FAILED: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
