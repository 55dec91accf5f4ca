"""Checks: tenants' memory page by page, as it is known or as drgn reads it in the vmcore."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from check_memory import find, mapped, occurrences
from comparison import Comparison
from host import GUESTS, PATTERNED, pattern
from images import Kernel
from machine_pieces import Split, recipients_of
from product import run, run_json
from vmcore import ElfDump

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
                           *sorted(kernel.debug_modules.glob("*.ko"))], capture_output=True, text=True, timeout=900)
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
    places = {s.pa + at - s.offset for at in occurrences(vmcore, content) for s in memory.core.loads
              if s.offset <= at < s.offset + s.size}
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
        secret = content if name == "beta" else pattern(facts["seeds"]["delta"])[4096:8192]
        compared.equal(find(raw, secret), -1, f"{name}: what must not be read was not")
        raw.unlink()
    dump.unlink()
    copy.unlink()


def check_pages(folder: Path, split: Split, kernel: Kernel, compared: Comparison) -> None:
    """Every page of each tenant, as drgn reads it through the VMM's page tables in the raw vmcore."""
    done = subprocess.run(["/usr/bin/python3", "-c", PAGES, folder / "vmcore", folder, kernel.vmlinux,
                           *sorted(kernel.debug_modules.glob("*.ko"))], capture_output=True, text=True, timeout=1800)
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
