#!/usr/bin/python3
"""check_machine.py FOLDER: what the capture kernel made of a dead KVM host, split by owner.

The leak test: every secret of a run is searched for in the whole dump, in the hypervisor's images of both levels and
in what each tenant gets, and must be with its owner alone.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import secrets
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from check_memory import mapped
from comparison import Comparison
from images import Kernel
from product import Failure, program, run, run_json
from vmcore import ElfDump

PEAK_KIB = 48 << 10
GUESTS = ("alpha", "beta")
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
    compared.equal(listed, {"hypervisor": ("captured", False), "alpha": ("captured", True),
                            "beta": ("captured", True)}, "partitions")
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
    policy.write_text(json.dumps({"vms": [{"match": n, "recipients": [recipient[n]]} for n in GUESTS],
                                  "hypervisor": {"level": "full", "recipients": [recipient["alpha"]]}}))
    full = folder / "full.hvd"
    run("hvdump-capture", "machine", vmcore, "--policy", policy, "-o", full)
    split = Split(folder, full, "full", keys)
    check_leaks(facts, split, "level full", compared)
    for path in (full, split.hypervisor, *split.of["alpha"], *split.of["beta"]):
        path.unlink()
    other = folder / "other.hvd"
    said = run("hvdump-capture", "machine", vmcore, "--stateless", "alpha", "-o", other, expect=3).stderr.decode()
    states = {p["name"]: p["state"] for p in run_json("hvdump-extract", "list", other, "--json")["partitions"]}
    compared.equal(states, {"hypervisor": "captured", "alpha": "stateless", "beta": "failed"}, "other policies")
    compared.that("beta: no recipient" in said, f"why beta was not written: {said.strip()}")
    compared.equal(contained(other, secrets_of(facts)), set(), "secrets in that dump")
    other.unlink()


def check_levels(facts: dict[str, Any], folder: Path, keys: dict[str, Path], split: Split,
                 compared: Comparison) -> None:
    """Parts of a guest, and the host's own processes for whom they are meant."""
    recipient = recipients_of(keys)
    policy, dump = folder / "levels.json", folder / "levels.hvd"
    levels = {"alpha": "kernel", "beta": "mini"}
    policy.write_text(json.dumps({"vms": [{"match": n, "recipients": [recipient[n]], "level": level}
                                          for n, level in levels.items()],
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
    for key, expected in (("alpha", False), ("host-user", True)):
        run("hvdump-extract", "hypervisor", dump, "--identity", keys[key], "-o", image)
        found = contained(image, canaries)
        known = {(owner, kind) for owner, kind, secret in canaries if secret in found}
        compared.equal(known, {("host", "environment")} if expected else set(),
                       f"canaries in the hypervisor's image with the key of {key}")
    for path in (dump, image, Path(f"{image}.gdb")):
        path.unlink(missing_ok=True)


def check_budget(folder: Path, keys: dict[str, Path], split: Split, compared: Comparison) -> None:
    """What does not fit is absent and says so: the hypervisor comes first, then the VM of the higher priority."""
    recipient = recipients_of(keys)
    policy, small = folder / "order.json", folder / "small.hvd"
    policy.write_text(json.dumps({"vms": [{"match": "alpha", "recipients": [recipient["alpha"]], "priority": 5},
                                          {"match": "beta", "recipients": [recipient["beta"]]}]}))
    allowed = split.dump.stat().st_size // 2
    run("hvdump-capture", "machine", folder / "vmcore", "--policy", policy, "--max-size", str(allowed), "-o", small,
        expect=3)
    states = [(p["name"], p["state"]) for p in run_json("hvdump-extract", "list", small, "--json")["partitions"]]
    compared.equal([name for name, _ in states], ["hypervisor", "alpha", "beta"], "the order of the partitions")
    compared.equal(states[2], ("beta", "incomplete"), "the last one does not fit")
    size = small.stat().st_size
    compared.that(allowed // 2 < size < allowed * 11 // 10, f"a dump of {size} bytes where {allowed} are allowed")
    report = run_json("hvdump-analyze", "triage", small, "--identity", keys["beta"], expect=3)
    told = report["partitions"][2]["memory"]["absent"]
    compared.that(told.get("budget", 0) > 50 << 20, f"why beta's memory is not there: {told}")
    compared.equal(run("hvdump-extract", "verify", small).returncode, 0, "verify")
    small.unlink()


def check_network(folder: Path, keys: dict[str, Path], compared: Comparison) -> None:
    """Over TCP, and what the sender is told when the receiver goes away."""
    recipients = [word for name, key in recipients_of(keys).items() if name in GUESTS
                  for word in ("--recipient", f"{name}={key}")]
    command = ["machine", folder / "vmcore", *recipients]
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
    said = run("hvdump-capture", "receive", "--listen", "nowhere", "-o", folder / "no", expect=2).stderr.decode()
    compared.that("expected HOST:PORT" in said, f"a wrong address: {said.strip()}")


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
    check_entry(folder, compared)
    check_stacks(folder, split, compared)
    check_torn(folder, split, compared)
    check_policies(facts, folder, keys, compared)
    check_levels(facts, folder, keys, split, compared)
    check_budget(folder, keys, split, compared)
    check_network(folder, keys, compared)
    check_referees(facts, folder, split, Kernel.find(facts["kernel"]), compared)
    return compared.verdict()


if __name__ == "__main__":
    sys.exit(main())
