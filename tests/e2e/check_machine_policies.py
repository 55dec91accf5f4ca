"""Checks: what other policies than the capture kernel's make of the same vmcore."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from check_machine_owners import check_leaks
from comparison import Comparison
from host import GUESTS, PATTERNED, STATELESS
from images import Kernel
from machine_pieces import Split, contained, recipients_of, secrets_of
from product import run, run_json

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
                              timeout=900)
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
