#!/usr/bin/python3
"""check_machine.py FOLDER: what the capture kernel made of a dead KVM host, split by owner.

The leak test: every secret of a run is searched for in the whole dump, in the hypervisor's images of both levels and
in what each tenant gets, and must be with its owner alone.
"""

from __future__ import annotations

import argparse
import filecmp
import json
import os
import re
import secrets
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from check_memory import mapped
from comparison import Comparison
from host import GUESTS, PATTERNED, STATELESS, pattern
from images import Kernel
from product import Failure, program, run, run_json
from vmcore import ElfDump

PEAK_KIB = 48 << 10
STACK = """
import json, sys, drgn
prog = drgn.Program()
prog.set_core_dump(sys.argv[1])
try: prog.load_debug_info(sys.argv[2:])
except drgn.MissingDebugInfoError: pass
from drgn.helpers.linux.pid import for_each_task
def frames(task):
    try: return [f.pc for f in prog.stack_trace(task) if f.pc >> 63]
    except Exception as error: return str(error)  # of this kernel's ORC, and others
line = prog['saved_command_line'].string_().decode()
print(json.dumps({'line': line, 'stacks': {t.pid.value_(): frames(t) for t in for_each_task(prog)}}))
"""


# Lists of structures that the kernel has by kmalloc.
WALK = """
import json, sys, drgn
from drgn.helpers.linux.list import list_for_each_entry
prog = drgn.Program()
prog.set_core_dump(sys.argv[1])
try: prog.load_debug_info(sys.argv[2:])
except drgn.MissingDebugInfoError: pass
found = {}
for head, type, member, pointer in (('super_blocks', 'super_block', 's_list', 's_op'),
                                    ('workqueues', 'workqueue_struct', 'list', 'dfl_pwq')):
    found[head] = [(each.value_(), getattr(each, pointer).value_())
                   for each in list_for_each_entry('struct ' + type, prog[head].address_of_(), member)]
print(json.dumps(found))
"""


def recipients_of(keys: dict[str, Path]) -> dict[str, str]:
    """As the key files' comments name them."""
    return {name: re.findall(r"age1[0-9a-z]+", path.read_text())[0] for name, path in keys.items()}


class Split:
    """The pieces of a dump, in files."""

    def __init__(self, folder: Path, dump: Path, name: str, keys: dict[str, Path]) -> None:
        self.dump = dump
        self.hypervisor = folder / f"{name}.hypervisor.elf"
        run("hvdump-extract", "hypervisor", dump, "-o", self.hypervisor, "--identity", keys["alpha"])
        self.of: dict[str, list[Path]] = {}
        for guest in GUESTS:
            self.of[guest] = [folder / f"{name}.{guest}.{kind}" for kind in ("elf", "raw", "vmm")]
            for path, options in zip(self.of[guest], ([], ["--format", "raw"], ["--vmm"])):
                run("hvdump-extract", "partition", dump, guest, "-o", path, "--identity", keys[guest], *options,
                    expect=(0, 3))


def secrets_of(facts: dict[str, Any]) -> list[tuple[str, str, bytes]]:
    """Owner, what it is, its bytes."""
    found = []
    for owner, canary in facts["canaries"].items():
        found += [(owner, "environment", canary["env"].encode()), (owner, "file", canary["file"].encode()),
                  (owner, "kernel", canary["kernel"].encode()),
                  (owner, "register", canary["register"].to_bytes(8, "little"))]
    for owner, more in facts["more"].items():
        found += [(owner, what, text.encode()) for what, text in more.items()]
    return found


def contained(path: Path, canaries: list[tuple[str, str, bytes]]) -> set[bytes]:
    """Those of the secrets that are somewhere in the file."""
    with mapped(path) as data:
        words = set(re.findall(rb"hvd-[a-z]+-[0-9a-f]{32}", data))
        return {secret for _, _, secret in canaries if secret in words or len(secret) == 8 and data.find(secret) >= 0}


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
    with mapped(copy) as theirs, mapped(image) as ours:
        compared.that(theirs.find(secret) >= 0, "the process's registers are in the vmcore")
        compared.equal(ours.find(secret), -1, "and not in the hypervisor's image")
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


def check_stacks(folder: Path, split: Split, compared: Comparison) -> None:
    """What is blanked takes nothing away from any stack: they are those of the untouched vmcore."""
    def stacks(path: Path) -> dict[str, Any]:
        host = run_json("hvdump-analyze", "triage", path, expect=(0, 3))["partitions"][0]
        found = {f"CPU {cpu['id']}": cpu["stack"] for cpu in host["cpus"]}
        found |= {f"{task['pid']} {task['comm']}": task["stack"] for task in host["tasks"]}
        return {whose: [f["address"] for f in stack if int(f["address"], 16) >> 63] for whose, stack in found.items()}
    mine, raw = stacks(split.hypervisor), stacks(folder / "vmcore")
    compared.equal(sorted(mine), sorted(raw), "CPUs and tasks")
    different = [whose for whose in raw if mine.get(whose) != raw[whose]]
    compared.equal(different, [], f"stacks that differ, of {len(raw)}")
    compared.that(sum(map(len, raw.values())) > 300, "there are some frames")


def check_torn(folder: Path, split: Split, compared: Comparison) -> None:
    """Power off in the middle: what was complete by then is there."""
    torn = folder / "torn.hvd"
    whole = split.dump.read_bytes()
    torn.write_bytes(whole[:len(whole) * 4 // 5])
    states = {p["name"]: p["state"] for p in run_json("hvdump-extract", "list", torn, "--json",
                                                      expect=3)["partitions"]}
    complete = [name for name, state in states.items() if state == "captured"]
    compared.that("hypervisor" in complete and len(complete) == 2 and "incomplete" in states.values(),
                  f"partitions of a dump cut off at four fifths: {states}")
    image = folder / "torn.elf"
    run("hvdump-extract", "hypervisor", torn, "-o", image, expect=(0, 3))
    compared.that(image.read_bytes() == split.hypervisor.read_bytes(), "the torn dump's hypervisor image is the same")
    torn.unlink()
    image.unlink()


def check_policies(facts: dict[str, Any], folder: Path, keys: dict[str, Path], compared: Comparison) -> None:
    """The same after the fact, from the vmcore: level full, a stateless VM, one that nobody is named for."""
    vmcore = folder / "vmcore"
    recipient = recipients_of(keys)
    policy = folder / "full.json"
    policy.write_text(json.dumps({"vms": [{"match": n, "recipients": [recipient[n]]} for n in GUESTS] + STATELESS,
                                  "hypervisor": {"level": "full", "recipients": [recipient["alpha"]]}}))
    full = folder / "full.hvd"
    run("hvdump-capture", "machine", vmcore, "--policy", policy, "-o", full)
    split = Split(folder, full, "full", keys)
    check_leaks(facts, split, "level full", compared)
    check_full(folder, full, keys["alpha"], split, Kernel.find(facts["kernel"]), compared)
    for path in (full, split.hypervisor, *split.of["alpha"], *split.of["beta"]):
        path.unlink()
    other = folder / "other.hvd"
    said = run("hvdump-capture", "machine", vmcore, "--stateless", "alpha", "-o", other, expect=3).stderr.decode()
    states = {p["name"]: p["state"] for p in run_json("hvdump-extract", "list", other, "--json")["partitions"]}
    compared.equal(states, {"hypervisor": "captured", "alpha": "stateless", "beta": "failed", "gamma": "failed",
                            "delta": "failed"}, "other policies")
    compared.that("beta: no recipient" in said, f"why beta was not written: {said.strip()}")
    compared.equal(contained(other, secrets_of(facts)), set(), "secrets in that dump")
    other.unlink()


def check_full(folder: Path, dump: Path, key: Path, split: Split, kernel: Kernel, compared: Comparison) -> None:
    """Every page of the kernel's is there but for a deny-list, if only by the addresses in it."""
    kinds = {k["kind"]: k for k in run_json("hvdump-extract", "ledger", dump, "--identity", key, "--json")["kinds"]}
    left = {kind for kind, said in kinds.items() if said["done"] == "left-out"}
    compared.equal(left - {"processes", "page-cache", "free", "poisoned", "other-objects", "guest-state", "other"}, set(),
                   "level full: kinds that are left out")
    pages = {kind: kinds.get(kind, {}).get("pages", 0) for kind in ("addresses-only", "guest-state", "other")}
    # What is left of `other` has no struct page.
    compared.that(pages["addresses-only"] > 1000 and pages["guest-state"] >= 4 * 6 and pages["other"] < 1000,
                  f"level full: pages of some kinds: {pages}")
    if not kernel.has_debug_info:
        return

    def walked(core: Path) -> Any:
        done = subprocess.run(["/usr/bin/python3", "-c", WALK, core, kernel.vmlinux], capture_output=True, text=True,
                              timeout=300)
        return json.loads(done.stdout) if done.returncode == 0 else done.stderr[-500:]
    raw = walked(folder / "vmcore")
    compared.that(isinstance(raw, dict) and all(len(found) > 5 for found in raw.values()), "lists in the vmcore", raw)
    compared.equal(walked(split.hypervisor), raw, "level full: lists that drgn walks")


def check_levels(facts: dict[str, Any], folder: Path, keys: dict[str, Path], split: Split,
                 compared: Comparison) -> None:
    """Parts of a guest, and the host's own processes for whom they are meant."""
    recipient = recipients_of(keys)
    policy, dump = folder / "levels.json", folder / "levels.hvd"
    levels = {"alpha": "kernel", "beta": "mini"}
    policy.write_text(json.dumps({"vms": [{"match": n, "recipients": [recipient[n]], "level": level}
                                          for n, level in levels.items()] + STATELESS,
                                  "host_user": {"recipients": [recipient["host-user"]]}}))
    run("hvdump-capture", "machine", folder / "vmcore", "--policy", policy, "-o", dump)
    canaries = secrets_of(facts)
    compared.equal(contained(dump, canaries), set(), "levels: canaries in the whole dump")
    for name, level in levels.items():
        def report(path: Path) -> Any:
            return run_json("hvdump-analyze", "triage", path, "--partition", name, "--identity", keys[name],
                            expect=(0, 3))["partitions"][0]
        mine, whole = report(dump), report(split.dump)
        compared.equal({k: v for k, v in mine.items() if k != "memory"},
                       {k: v for k, v in whole.items() if k != "memory"}, f"level {level}: the report but for memory")
        left = mine["memory"]
        compared.that(left["absent"].get("filtered-class", 0) > 2 << 20 and left["absent"]["filtered-free"] > 8 << 20
                      and not left["by_class"].get("user"), f"level {level}: what was left out: {left}")
        raw = folder / "levels.raw"
        run("hvdump-extract", "partition", dump, name, "--identity", keys[name], "--format", "raw", "-o", raw,
            expect=3)
        found = contained(raw, canaries)
        own = {kind: secret in found for owner, kind, secret in canaries if owner == name}
        compared.equal((own["environment"], own["file"]), (False, False), f"level {level}: user and file pages")
        raw.unlink()
    compared.that(left["present_bytes"] < 24 << 20, f"level mini: {left['present_bytes']} bytes of memory")
    image = folder / "levels.elf"

    def seen_with(key: str) -> set[tuple[str, str]]:
        run("hvdump-extract", "hypervisor", dump, "--identity", keys[key], "-o", image)
        found = contained(image, canaries)
        return {(owner, kind) for owner, kind, secret in canaries if secret in found}
    compared.equal(seen_with("alpha"), set(), "canaries in the hypervisor's image with alpha's key")
    compared.equal(seen_with("host-user"), {("host", "environment")}, "and with that of host-user")
    # The host's file is closed. A guest's disk would be, too, once the guest is gone: hence only when asked for.
    policy.write_text(json.dumps({"vms": [{"match": "*", "stateless": True}],
                                  "host_user": {"recipients": [recipient["host-user"]], "page_cache": "all"}}))
    run("hvdump-capture", "machine", folder / "vmcore", "--policy", policy, "-o", dump)
    compared.equal(seen_with("host-user"), {("host", "environment"), ("host", "file")}, "and with all page cache")
    for path in (dump, image, Path(f"{image}.gdb")):
        path.unlink(missing_ok=True)


def check_budget(folder: Path, keys: dict[str, Path], split: Split, compared: Comparison) -> None:
    """What does not fit is absent and says so: the hypervisor comes first, then the VM of the higher priority."""
    recipient = recipients_of(keys)
    policy, small = folder / "order.json", folder / "small.hvd"
    policy.write_text(json.dumps({"vms": [{"match": "alpha", "recipients": [recipient["alpha"]], "priority": 5},
                                          {"match": "beta", "recipients": [recipient["beta"]]}, *STATELESS]}))
    allowed = split.dump.stat().st_size // 2
    run("hvdump-capture", "machine", folder / "vmcore", "--policy", policy, "--max-size", str(allowed), "-o", small,
        expect=3)
    states = [(p["name"], p["state"]) for p in run_json("hvdump-extract", "list", small, "--json")["partitions"]]
    compared.equal([name for name, _ in states if name not in PATTERNED], ["hypervisor", "alpha", "beta"],
                   "the order of the partitions")
    compared.equal(next(s for s in states if s[0] == "beta"), ("beta", "incomplete"), "the last one does not fit")
    size = small.stat().st_size
    compared.that(allowed // 2 < size < allowed * 11 // 10, f"a dump of {size} bytes where {allowed} are allowed")
    report = run_json("hvdump-analyze", "triage", small, "--identity", keys["beta"], expect=3)
    told = next(p for p in report["partitions"] if p["name"] == "beta")["memory"]["absent"]
    compared.that(told.get("budget", 0) > 50 << 20, f"why beta's memory is not there: {told}")
    compared.equal(run("hvdump-extract", "verify", small).returncode, 0, "verify")
    small.unlink()


def check_network(folder: Path, keys: dict[str, Path], compared: Comparison) -> None:
    """Over TCP, and what the sender is told when the receiver goes away."""
    recipients = [word for name, key in recipients_of(keys).items() if name in GUESTS
                  for word in ("--recipient", f"{name}={key}")]
    command = ["machine", folder / "vmcore", *recipients, "--stateless", "gamma", "--stateless", "delta"]
    for kill in (False, True):
        arrived = folder / "arrived.hvd"
        receiver = subprocess.Popen([program("hvdump-capture"), "receive", "--listen", "127.0.0.1:0", "-o", arrived],
                                    stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        assert receiver.stderr is not None
        port = receiver.stderr.readline().split()[-1]
        if kill:
            sender = subprocess.Popen([program("hvdump-capture"), *map(str, command), "-o", f"tcp://127.0.0.1:{port}"],
                                      stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            while not arrived.exists() or arrived.stat().st_size < 4 << 20:
                time.sleep(0.01)
            receiver.kill()
            said = sender.communicate(timeout=120)[1]
            compared.that(sender.returncode == 1 and "tcp://127.0.0.1" in said, f"the receiver died: {said.strip()}")
            receiver.wait()
            listed = run("hvdump-extract", "list", arrived, expect=3).stdout.decode()
            compared.that("hypervisor" in listed, "what had come by then is there")
        else:
            run("hvdump-capture", *command, "-o", f"tcp://127.0.0.1:{port}")
            compared.equal(receiver.wait(timeout=60), 0, "the receiver's exit")
            compared.equal(run("hvdump-extract", "verify", arrived).returncode, 0, "verify of what came")
        receiver.stderr.close()
        arrived.unlink()
    # Nobody listens: Ctrl-C ends the wait.
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        waiting = subprocess.Popen([program("hvdump-capture"), *map(str, command), "-o",
                                    f"tcp://127.0.0.1:{free.getsockname()[1]}"], stdin=subprocess.DEVNULL,
                                   stderr=subprocess.PIPE, text=True)
        time.sleep(2)
        compared.that(waiting.poll() is None, "for some time the receiver may come late")
        waiting.send_signal(signal.SIGINT)
        said = waiting.communicate(timeout=10)[1]
        compared.that(waiting.returncode > 0 and "interrupted" in said, f"Ctrl-C: {waiting.returncode}, {said.strip()}")
    said = run("hvdump-capture", "receive", "--listen", "nowhere", "-o", folder / "no", expect=2).stderr.decode()
    compared.that("expected HOST:PORT" in said, f"a wrong address: {said.strip()}")


def check_patterns(facts: dict[str, Any], folder: Path, keys: dict[str, Path], compared: Comparison) -> None:
    """Memory in huge pages, and memory that is in part swapped out, of VMs of which every byte is known."""
    recipient = recipients_of({name: folder / f"{name}.key" for name in PATTERNED})
    policy, dump, raw = folder / "patterns.json", folder / "patterns.hvd", folder / "patterns.raw"
    policy.write_text(json.dumps({"vms": [{"match": n, "recipients": [recipient[n]]} for n in PATTERNED]
                                  + [{"match": n, "stateless": True} for n in GUESTS]}))
    said = run("hvdump-capture", "machine", folder / "vmcore", "--policy", policy, "-o", dump, expect=3).stderr
    states = {p["name"]: p["state"] for p in run_json("hvdump-extract", "list", dump, "--json", expect=(0, 3))["partitions"]}
    compared.equal([states[n] for n in PATTERNED], ["incomplete", "captured"], "what is swapped out is missing, and told")
    compared.that(b"on the host's swap device" in said, "why", said.decode())
    compared.that(facts["huge_kib"] > 2 << 10, f"a VMM with {facts['huge_kib']} KiB of transparent huge pages")
    for name in PATTERNED:
        key = folder / f"{name}.key"
        truth = pattern(facts["seeds"][name])
        run("hvdump-extract", "partition", dump, name, "--format", "raw", "-o", raw, "--identity", key, expect=(0, 3))
        report = run_json("hvdump-analyze", "triage", dump, "--partition", name, "--identity", key, expect=(0, 3))
        absent = report["partitions"][0]["memory"]["absent"]
        with raw.open("rb") as file:
            file.seek(1 << 20)
            memory = file.read(len(truth))
        there = [memory[at:at + 4096] for at in range(0, len(truth), 4096)]
        true = [truth[at:at + 4096] for at in range(0, len(truth), 4096)]
        wrong = [n for n, page in enumerate(there) if page != true[n] and any(page)]
        gone = sum(not any(page) for page in there)
        compared.equal(wrong, [], f"{name}: pages that are neither as they were nor absent")
        swapped = absent.get("swapped", 0)
        if name == "gamma":
            compared.that(swapped >= 2 << 20 and swapped // 4096 >= gone > 256,
                          f"gamma: {swapped >> 10} KiB swapped out, {gone} of the known pages; the host says "
                          f"{facts['swapped_kib']} KiB", said.decode())
        else:
            compared.equal((swapped, gone), (0, 0), "delta: swapped out, gone")
        raw.unlink()
    dump.unlink()


SEV = """
import sys, drgn
from drgn.helpers.linux.list import list_for_each_entry
prog = drgn.Program()
prog.set_core_dump(sys.argv[1])
try: prog.load_debug_info(sys.argv[2:])
except drgn.MissingDebugInfoError: pass
for kvm in list_for_each_entry('struct kvm', prog['vm_list'].address_of_(), 'vm_list'):
    svm = drgn.container_of(kvm, 'struct kvm_svm', 'kvm')
    print(kvm.userspace_pid.value_(), svm.sev_info.active.address_of_().value_())
"""


class Translated:
    """A vmcore's memory by the kernel's addresses, through its page tables (4 levels)."""

    def __init__(self, vmcore: Path) -> None:
        self.core = ElfDump(vmcore)
        facts = self.core.vmcoreinfo()
        self.struct_page, self.poison = int(facts["SIZE(page)"]), int(facts["NUMBER(PG_hwpoison)"])
        self._root = int(facts["SYMBOL(init_top_pgt)"], 16) - 0xFFFFFFFF80000000 + int(facts["NUMBER(phys_base)"])

    def physical(self, at: int) -> int:
        table = self._root
        for shift in (39, 30, 21, 12):
            entry = int.from_bytes(self.core.read(table + (at >> shift & 511) * 8, 8), "little")
            table = entry & 0x000FFFFFFFFFF000
            if shift == 12 or entry & 0x80:
                return table & ~((1 << shift) - 1) | at & (1 << shift) - 1
        raise AssertionError

    def offsets(self, physical: int) -> list[int]:
        """In the file: a vmcore has the kernel's image twice, and what took the place of its initialisation."""
        return [s.offset + physical - s.pa for s in self.core.loads if s.pa <= physical < s.pa + s.size]


def check_injected(facts: dict[str, Any], folder: Path, split: Split, kernel: Kernel, compared: Comparison) -> None:
    """What no lab has: a page that the hardware gave up, and a VM whose memory is encrypted. Both are made so in a copy
    of the vmcore, where the kernel keeps such things."""
    vmcore, copy, dump = folder / "vmcore", folder / "injected.vmcore", folder / "injected.hvd"
    said = subprocess.run(["/usr/bin/python3", "-c", SEV, vmcore, kernel.vmlinux,
                           *sorted(kernel.debug_modules.glob("*.ko"))], capture_output=True, text=True, timeout=300)
    if not compared.that(said.returncode == 0, "drgn finds what is known of SEV", said.stderr[-1000:]):
        return
    active = {int(pid): int(at) for pid, at in (line.split() for line in said.stdout.splitlines())}
    report = run_json("hvdump-analyze", "triage", vmcore)["partitions"][0]
    pids = {vm["name"]: vm["pid"] for vm in report["vms"]}
    memory = Translated(vmcore)
    with mapped(split.of["beta"][1]) as raw:
        # A page that is like no other, and where: there may be copies of it, so all of them are poisoned.
        content = next(page for page in (raw[at:at + 4096] for at in range(20 << 20, 90 << 20, 4096))
                       if len(set(page)) > 100 and page.count(0) < 1000)
    with mapped(vmcore) as data:
        places, at = [], -1
        while (at := data.find(content, at + 1)) >= 0:
            places += [s.pa + at - s.offset for s in memory.core.loads if s.offset <= at < s.offset + s.size]
    compared.that(places, "a page of beta's is in the host's memory")
    vmemmap = int.from_bytes(bytes.fromhex(run_json("hvdump-analyze", "read", vmcore, "vmemmap_base", "8",
                                                    "--json")["bytes"]), "little")
    subprocess.run(["cp", "--sparse=always", vmcore, copy], check=True)
    with copy.open("r+b") as file:
        for physical in places:
            flags = vmemmap + physical // 4096 * memory.struct_page
            for at in memory.offsets(memory.physical(flags + memory.poison // 8)):
                file.seek(at)
                old = file.read(1)[0]
                file.seek(at)
                file.write(bytes([old | 1 << memory.poison % 8]))
        for at in memory.offsets(memory.physical(active[pids["delta"]])):
            file.seek(at)
            file.write(b"\1")
    recipients = recipients_of({name: folder / f"{name}.key" for name in ("beta", "delta")})
    policy = folder / "injected.json"
    policy.write_text(json.dumps({"vms": [{"match": n, "recipients": [key]} for n, key in recipients.items()]
                                  + [{"match": n, "stateless": True} for n in ("alpha", "gamma")]}))
    told = run("hvdump-capture", "machine", copy, "--policy", policy, "-o", dump, expect=3).stderr.decode()
    compared.that("delta: its memory is encrypted by SEV" in told, "the encrypted VM is told", told)
    raw = folder / "injected.raw"
    for name, wanted in (("beta", 4096), ("delta", 8 << 20)):
        key = folder / f"{name}.key"
        run("hvdump-extract", "partition", dump, name, "--format", "raw", "-o", raw, "--identity", key, expect=(0, 3))
        whole = run_json("hvdump-analyze", "triage", dump, "--partition", name, "--identity", key, expect=(0, 3))
        absent = whole["partitions"][0]["memory"]["absent"]
        compared.that(absent.get("restricted", 0) >= wanted, f"{name}: restricted {absent}")
        with mapped(raw) as there:
            secret = content if name == "beta" else pattern(facts["seeds"]["delta"])[4096:8192]
            compared.equal(there.find(secret), -1, f"{name}: what must not be read was not")
        raw.unlink()
    dump.unlink()
    copy.unlink()


def check_inputs(folder: Path, keys: dict[str, Path], split: Split, compared: Comparison) -> None:
    """The same host out of other files: as makedumpfile compresses it, and as a guest in an .hvd."""
    recipient = recipients_of(keys)
    policy = folder / "inputs.json"
    policy.write_text(json.dumps({"vms": [{"match": n, "recipients": [recipient[n]]} for n in GUESTS] + STATELESS}))
    wholly = folder / "host.hvd"
    run("hvdump-capture", "import", folder / "vmcore", "--name", "host", "--recipient", f"host={recipient['alpha']}",
        "-o", wholly)
    inputs: dict[str, list[str | Path]] = {".hvd": [wholly, "--partition", "host", "--identity", keys["alpha"]]}
    if shutil.which("makedumpfile"):
        compressed = folder / "host.kdump"
        compressed.unlink(missing_ok=True)
        subprocess.run(["makedumpfile", "-l", "-d", "0", folder / "vmcore", compressed], check=True, capture_output=True)
        inputs["kdump-compressed"] = [compressed]
    else:
        compared.note("no kdump-compressed input: makedumpfile is not installed")
    for kind, words in inputs.items():
        dump = folder / "inputs.hvd"
        run("hvdump-capture", "machine", *words, "--policy", policy, "-o", dump)
        again = Split(folder, dump, "inputs", keys)
        # Of a kdump-compressed file VMCOREINFO comes without the time of the crash: notes may differ.
        begin = [min(load.offset for load in ElfDump(image).loads) for image in (again.hypervisor, split.hypervisor)]
        with mapped(again.hypervisor) as mine, mapped(split.hypervisor) as whole:
            compared.that(mine[begin[0]:] == whole[begin[1]:], f"{kind}: the hypervisor's memory is the same")
        again.hypervisor.unlink()
        for ours, theirs in (pair for guest in GUESTS for pair in zip(again.of[guest], split.of[guest])):
            # The raw file has what the core has, and gigabytes of holes.
            if ours.suffix != ".raw":
                compared.that(filecmp.cmp(ours, theirs, shallow=False), f"{kind}: {theirs.name} is the same")
            ours.unlink()
        dump.unlink()
        Path(words[0]).unlink()


PAGES = """
import sys, drgn
from drgn.helpers.linux.list import list_for_each_entry
from drgn.helpers.linux.rbtree import rbtree_inorder_for_each_entry
from drgn.helpers.linux.mm import access_remote_vm
prog = drgn.Program()
prog.set_core_dump(sys.argv[1])
try: prog.load_debug_info(sys.argv[3:])
except drgn.MissingDebugInfoError: pass
for kvm in list_for_each_entry('struct kvm', prog['vm_list'].address_of_(), 'vm_list'):
    mm, slots = kvm.mm, kvm.memslots[0]
    line = access_remote_vm(mm, mm.arg_start, (mm.arg_end - mm.arg_start).value_()).decode().split(chr(0))
    with open(f"{sys.argv[2]}/drgn.{line[line.index('-name') + 1]}.raw", 'wb') as out, \\
            open(out.name + '.absent', 'w') as absent:
        for s in rbtree_inorder_for_each_entry('struct kvm_memory_slot', slots.gfn_tree.address_of_(),
                                               f'gfn_node[{slots.node_idx.value_()}]'):
            begin, base = s.userspace_addr.value_(), s.base_gfn.value_()
            for at in range(s.npages.value_()):
                try: page = access_remote_vm(mm, begin + at * 4096, 4096)
                except (drgn.FaultError, ValueError):
                    print(base + at, file=absent)
                    continue
                if any(page):
                    out.seek((base + at) * 4096)
                    out.write(page)
"""


def check_pages(folder: Path, split: Split, kernel: Kernel, compared: Comparison) -> None:
    """Every page of each tenant, as drgn reads it through the VMM's page tables in the raw vmcore."""
    done = subprocess.run(["/usr/bin/python3", "-c", PAGES, folder / "vmcore", folder, kernel.vmlinux,
                           *sorted(kernel.debug_modules.glob("*.ko"))], capture_output=True, text=True, timeout=600)
    if not compared.that(done.returncode == 0, "drgn reads the guests' pages", done.stderr[-2000:]):
        return
    for guest in GUESTS:
        theirs, absent = folder / f"drgn.{guest}.raw", folder / f"drgn.{guest}.raw.absent"
        with mapped(split.of[guest][1]) as ours, mapped(theirs) as other:
            differ, there = [], 0
            for page in range(0, min(len(ours), 96 << 20), 4096):
                mine, true = ours[page:page + 4096], other[page:page + 4096].ljust(4096, b"\0")
                there += any(mine)
                if mine != true:
                    differ.append(hex(page))
        # Anonymous memory that was never written to has no page that drgn could read: it is zero in both.
        compared.equal(differ[:20], [], f"{guest}: pages that differ from what drgn reads, of {(96 << 20) // 4096}")
        compared.that(there > 4000, f"{guest}: {there} of them are not zero; {len(absent.read_text().split())} are "
                                    "not there for drgn")
        theirs.unlink()
        absent.unlink()


def check_referees(facts: dict[str, Any], folder: Path, split: Split, kernel: Kernel, compared: Comparison) -> None:
    if not kernel.has_debug_info:
        compared.note("not compared with gdb, crash and drgn: no debug package (scripts/fetch-kernels --dbg)")
        return
    new = tuple(map(int, facts["release"].split(".")[:2])) >= (6, 4)
    for guest in GUESTS:
        core = split.of[guest][0]
        done = subprocess.run(["gdb", "-nx", "-batch", "-x", f"{core}.gdb", "-ex", "x/s saved_command_line", "-ex", "bt"],
                              capture_output=True, text=True, errors="replace", timeout=300,
                              env={**os.environ, "HVDUMP_VMLINUX": str(kernel.vmlinux)})
        compared.that(f"tenant={guest}" in done.stdout and len(re.findall(r"^#\d+ ", done.stdout, re.MULTILINE)) >= 1,
                      f"gdb opens {guest}'s core", done.stdout[-1500:] + done.stderr[-1500:])
        theirs = drgn(core, kernel)
        compared.that(theirs["line"].endswith(f"tenant={guest}"), f"drgn opens {guest}'s core: {theirs['line']}")
    mine, raw = drgn(split.hypervisor, kernel), drgn(folder / "vmcore", kernel)
    compared.equal(sorted(mine["stacks"]), sorted(raw["stacks"]), "tasks of the host, as drgn sees them")
    if new:
        compared.note("drgn 0.0.22 does not know this kernel's ORC and walks what is stale, crash 8.0.2 may die of it")
        return
    compared.equal([pid for pid in raw["stacks"] if mine["stacks"].get(pid) != raw["stacks"][pid]], [],
                   f"tasks whose stacks drgn finds otherwise than in the vmcore, of {len(raw['stacks'])}")
    check_pages(folder, split, kernel, compared)
    check_injected(facts, folder, split, kernel, compared)
    done = subprocess.run(["crash", "-s", kernel.vmlinux, split.hypervisor], input="bt\nmod\nquit\n",
                          capture_output=True, text=True, errors="replace", timeout=300)
    compared.that("sysrq_handle_crash" in done.stdout and "kvm_amd" in done.stdout, "crash opens the host's image",
                  done.stdout[-2000:] + done.stderr[-1000:])


def drgn(core: Path, kernel: Kernel) -> Any:
    done = subprocess.run(["/usr/bin/python3", "-c", STACK, core, kernel.vmlinux], capture_output=True, text=True,
                          timeout=300, env={**os.environ, "DRGN_PREFER_ORC_UNWINDER": "1"})
    if done.returncode != 0:
        raise Failure(f"drgn does not open {core.name}: {done.stderr[-1000:]}")
    return json.loads(done.stdout)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    if not (folder / "host.json").exists():
        print("SKIPPED: the host was not made")
        return 77
    facts: dict[str, Any] = json.loads((folder / "host.json").read_text())
    compared = Comparison()
    keys = {name: folder / f"{name}.key" for name in (*GUESTS, "host-user")}
    split = Split(folder, folder / "dump.hvd", "dump", keys)
    check_dump(facts, folder, split, compared)
    check_leaks(facts, split, "level secure", compared)
    check_kvm_state(folder, keys, split, compared)
    check_entry(folder, compared)
    check_stacks(folder, split, compared)
    check_torn(folder, split, compared)
    check_policies(facts, folder, keys, compared)
    check_levels(facts, folder, keys, split, compared)
    check_budget(folder, keys, split, compared)
    check_network(folder, keys, compared)
    check_patterns(facts, folder, keys, compared)
    if facts["kernel"] == "6.1":  # how a file is read does not depend on the kernel in it
        check_inputs(folder, keys, split, compared)
    check_referees(facts, folder, split, Kernel.find(facts["kernel"]), compared)
    return compared.verdict()


if __name__ == "__main__":
    sys.exit(main())
