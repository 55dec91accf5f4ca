"""Checks: each secret of a dead host's dump is with its owner alone."""

from __future__ import annotations

import secrets
import struct
import subprocess
from pathlib import Path
from typing import Any

from check_memory import find
from comparison import Comparison
from host import GUESTS
from machine_pieces import Split, contained, recipients_of, secrets_of
from product import run, run_json
from vmcore import ElfDump

PEAK_KIB = 48 << 10


def check_dump(facts: dict[str, Any], folder: Path, split: Split, compared: Comparison) -> None:
    listed = {p["name"]: (p["state"], p["sealed"]) for p in run_json("hvdump-extract", "list", split.dump,
                                                                    "--json")["partitions"]}
    compared.equal(listed, {"hypervisor": ("captured", False), "alpha": ("captured", True), "beta": ("captured", True),
                            "gamma": ("stateless", False), "delta": ("stateless", False)}, "partitions")
    verified = run("hvdump-extract", "verify", split.dump)
    compared.equal(verified.returncode, 0, "verify")
    if facts["peak_kib"]:
        # busybox prints four times the kernel's figure, which is in KiB already.
        peak = facts["peak_kib"] // 4
        compared.that(peak <= PEAK_KIB, f"peak memory in the capture kernel: {peak} KiB, at most {PEAK_KIB}")
    ledger = {k["kind"]: k for k in run_json("hvdump-extract", "ledger", split.dump, "--json")["kinds"]}
    compared.that({"image", "tasks", "stacks", "processes", "free"} <= set(ledger), f"ledger: {sorted(ledger)}")
    compared.equal((ledger["tasks"]["done"], ledger["processes"]["done"]), ("redacted", "left-out"), "what was done")
    compared.that(ledger["stacks"]["redacted_pages"], "the ledger lists the redacted pages")
    report = run_json("hvdump-analyze", "triage", split.dump, "--identity", folder / "alpha.key", "--identity",
                      folder / "beta.key")
    by_name = {p["name"]: p for p in report["partitions"]}
    compared.equal([by_name[name]["os"]["release"] for name in ("hypervisor", *GUESTS)], [facts["release"]] * 3,
                   "releases in the report")
    compared.equal(by_name["hypervisor"]["crash"]["kind"], "panic", "crash of the host")
    vms = {vm["name"]: vm for vm in by_name["hypervisor"].get("vms", [])}
    compared.equal({n: vm["uuid"] for n, vm in vms.items()}, facts["uuids"], "VMs in the hypervisor's own image")


def check_leaks(facts: dict[str, Any], split: Split, what: str, compared: Comparison) -> None:
    canaries = secrets_of(facts)
    found = {path: contained(path, canaries) for path in (split.dump, split.hypervisor, *sum(split.of.values(), []))}
    for owner, kind, secret in canaries:
        where = [path for path in (split.dump, split.hypervisor) if secret in found[path]]
        for guest in GUESTS:
            there = [path.name for path in split.of[guest] if secret in found[path]]
            if guest != owner:
                where += [Path(name) for name in there]
            else:
                compared.that(there, f"{what}: {owner}'s {kind} canary is in its own partition: {there}")
        compared.equal([str(path) for path in where], [], f"{what}: {owner}'s {kind} canary is nowhere else")


def check_kvm_state(folder: Path, keys: dict[str, Path], split: Split, compared: Comparison) -> None:
    """What KVM had of a guest is in the tenant's partition, and what the VMCB says is what the core says."""
    # It is no part of what is granted to who may see the guest's kernel.
    grant, core = folder / "kernel.hvgrant", folder / "granted.elf"
    run("hvdump-decrypt", "grant", split.dump, "--partition", "alpha", "--identity", keys["alpha"], "--to",
        recipients_of(keys)["beta"], "--class", "kernel", "-o", grant)
    run("hvdump-extract", "partition", split.dump, "alpha", "--vmm", "-o", core, "--identity", keys["beta"], "--identity",
        grant, expect=(0, 3))
    # That a page is zero is in the page map, which every grant opens.
    compared.equal([kind for name, kind, content in ElfDump(core).notes() if name == "HVDUMP-KVM" and any(content[8:])],
                   [], "notes of KVM's state for who is granted the kernel's pages")
    grant.unlink()
    core.unlink()
    for guest in GUESTS:
        state = {kind: content for name, kind, content in ElfDump(split.of[guest][2]).notes() if name == "HVDUMP-KVM"}
        compared.equal(sorted(state), [1, 2, 3, 4, 5, 7], f"{guest}: notes of KVM's state")
        prstatus = next(content for _, kind, content in ElfDump(split.of[guest][0]).notes() if kind == 1)
        # AMD APM volume 2, table B-2: the save area at 0x400, RIP 0x178 into it, after the note's own 8 bytes.
        compared.equal(state[5][8 + 0x578:][:8], prstatus[112 + 16 * 8:][:8], f"{guest}: rip of VMCB and core")


def check_entry(folder: Path, compared: Comparison) -> None:
    """A CPU that the end caught between user mode and the kernel still has the process's registers.

    Nature does that now and then only, so it is done to a copy of the vmcore.
    """
    vmcore, copy = folder / "vmcore", folder / "entry.vmcore"
    secret = secrets.token_bytes(8)

    def symbol(name: str, size: int = 0) -> tuple[int, bytes]:
        said = run_json("hvdump-analyze", "read", vmcore, name, str(size), "--json")
        return int(said["address"], 16), bytes.fromhex(said["bytes"])
    crashed = run_json("hvdump-analyze", "triage", vmcore)["partitions"][0]["crash"]["cpu"]
    cpu = 1 - crashed
    offset = int.from_bytes(symbol("__per_cpu_offset", 16)[1][cpu * 8:][:8], "little")
    stack = symbol("entry_stack_storage")[0] + offset & (1 << 64) - 1
    entry = symbol("__entry_text_start")[0] + 0x40
    core = ElfDump(vmcore)
    notes = next(s for s in core.segments if s.kind == 4)
    subprocess.run(["cp", "--sparse=always", vmcore, copy], check=True)
    with copy.open("r+b") as file:
        prstatus = [at for at, kind in note_places(vmcore, notes.offset, notes.size) if kind == 1][cpu]
        words = [int.from_bytes(secret, "little")] * 21
        words[16], words[17], words[18], words[19], words[20] = entry, 0x10, 2, stack + 0xf00, 0x18
        file.seek(prstatus + 112)
        file.write(struct.pack("<21Q", *words))
        load = next(s for s in core.loads if s.va <= stack < s.va + s.size)
        file.seek(load.offset + stack - load.va + 0x800)
        file.write(secret * 256)
    dump, image = folder / "entry.hvd", folder / "entry.elf"
    run("hvdump-capture", "machine", copy, "-o", dump, expect=3)
    run("hvdump-extract", "hypervisor", dump, "-o", image)
    report = run_json("hvdump-analyze", "triage", image)["partitions"][0]
    compared.equal(report["cpus"][cpu]["registers"]["rip"], f"{entry:#x}", "the CPU is at the kernel's entry")
    compared.that(find(copy, secret) >= 0, "the process's registers are in the vmcore")
    compared.equal(find(image, secret), -1, "and not in the hypervisor's image")
    for path in (copy, dump, image):
        path.unlink()


def note_places(path: Path, begin: int, size: int) -> list[tuple[int, int]]:
    """Where each ELF note's content is in the file, and its type."""
    with path.open("rb") as file:
        file.seek(begin)
        data = file.read(size)
    found, at = [], 0
    while at + 12 <= len(data):
        name, content, kind = struct.unpack_from("<III", data, at)
        at += 12 + (name + 3 & ~3)
        found.append((begin + at, kind))
        at += content + 3 & ~3
    return found
