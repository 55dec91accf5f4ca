#!/usr/bin/python3
"""Boots one guest, lets it crash, and captures it; check.py compares what came of it.

    produce.py FOLDER --guest NAME     boots and captures it into FOLDER
    produce.py FOLDER --extract        splits that dump for the checks
    produce.py FOLDER --remove         when the last check is done
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import secrets
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from images import Kernel, Skip
from lab import Guest, LabError, qemu_dump
from product import Failure, Product, run, run_json
from recipes import RECIPES, Recipe


def age_key(path: Path) -> str:
    """Makes an age key; returns the recipient."""
    path.unlink(missing_ok=True)
    try:
        subprocess.run(["age-keygen", "-o", path], check=True, capture_output=True)
    except FileNotFoundError:
        raise Skip("age-keygen is not installed (Debian package age)") from None
    return subprocess.run(["age-keygen", "-y", path], check=True, capture_output=True, text=True).stdout.strip()


def dig_holes(path: Path) -> None:
    """Frees the zero blocks of a file; it reads as before."""
    subprocess.run(["fallocate", "-d", path], check=False, capture_output=True)


def produce(product: Product, recipe: Recipe) -> None:
    kernel = Kernel.find(recipe.kernel)
    recipient = age_key(product.key)
    secret = f"hvd-secret-{secrets.token_hex(16)}"
    options = {"mem": "256M", "append": "hvd.fill=16",
               "extra": ["-object", f"secret,id=s0,data={secret}"]} | recipe.options
    # A folder of its own, since the path of a socket may not be long.
    with tempfile.TemporaryDirectory(prefix="hvd-") as scratch, \
            Guest(Path(scratch), "guest", kernel, recipe.scenario, **options) as guest:
        if recipe.scenario == "idle":
            guest.wait_ready()
            guest.pause()
        else:
            guest.wait_crashed()
        before = guest.status()
        memory_tree = guest.qmp("human-monitor-command", command_line="info mtree -f")
        started = time.monotonic()
        qemu_dump(guest, product.qemu_dump)
        qemu_seconds = time.monotonic() - started
        dig_holes(product.qemu_dump)
        started = time.monotonic()
        done = run("hvdump-capture", "qemu", "--vm", f"tenant={guest.qmp_path}", "--recipient",
                   f"tenant={recipient}", "-o", product.hvd)
        seconds = time.monotonic() - started
        after = guest.status()
        (product.folder / "console").write_text(guest.console())
        facts = {"name": "tenant", "kernel": kernel.name, "release": kernel.release,
                 "scenario": recipe.scenario, "options": {"cpus": 2} | options, "recipient": recipient,
                 "status_before": before, "status_after": after, "qemu_seconds": qemu_seconds,
                 "seconds": seconds, "stderr": done.stderr.decode(), "memory_tree": memory_tree,
                 "canaries": dataclasses.asdict(guest.canaries), "secret": secret, "pid": guest.pid}
        product.facts_path.write_text(json.dumps(facts, indent=1))
    print(f"{kernel.release} {recipe.scenario}: {before}, captured in {seconds:.2f} s to "
          f"{product.hvd.stat().st_size >> 20} MiB, {after}; QEMU's dump {qemu_seconds:.2f} s")
    if after != before:
        raise Failure(f"the guest was {before} before the capture and is {after} after it")


def extract(product: Product) -> None:
    """The files that several checks look at."""
    name = product.facts["name"]
    identity = ("--identity", product.key)
    for path, form in ((product.elf, "elf"), (product.raw, "raw")):
        started = time.monotonic()
        run("hvdump-extract", "partition", product.hvd, name, "--format", form, "-o", path, *identity)
        print(f"{form}: {path.stat().st_size >> 20} MiB in {time.monotonic() - started:.2f} s")
    run("hvdump-extract", "hypervisor", product.hvd, "-o", product.hypervisor)
    run("hvdump-decrypt", "recover", product.hvd, "--partition", name, *identity, "-o", product.recovered)
    listing = run_json("hvdump-extract", "list", product.recovered, "--json")
    print("recovered:", [(p["name"], p["state"], p["sealed"]) for p in listing["partitions"]])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--guest", choices=RECIPES, metavar="NAME")
    parser.add_argument("--extract", action="store_true")
    parser.add_argument("--remove", action="store_true")
    options = parser.parse_args()
    product = Product(options.folder)
    skipped = product.folder / "skipped"
    try:
        if options.remove:
            product.remove()
        if options.guest:
            product.remove()
            product.folder.mkdir(parents=True)
            produce(product, RECIPES[options.guest])
        if options.extract:
            extract(product)
    except Skip as reason:
        if options.guest:
            skipped.write_text(str(reason))
        print(f"SKIPPED: {reason}")
        return 77
    except (Failure, LabError) as error:
        print(f"FAILED: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
