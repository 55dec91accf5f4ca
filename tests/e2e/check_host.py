#!/usr/bin/python3
"""check_host.py FOLDER: what is told of a dead KVM host and of its guests, against drgn with DWARF."""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from check_stacks import our_frames, plain
from check_triage import validate
from comparison import Comparison
from host import GUESTS, PATTERNED, facts_of
from images import Kernel, LabError, Skip
from product import Failure, run

# Prints what drgn finds on vm_list: by the address space 0's tree of memory slots, and each vCPU's VMCB.
DRGN = """
import json, sys, drgn
from drgn.helpers.linux.list import list_for_each_entry
from drgn.helpers.linux.rbtree import rbtree_inorder_for_each_entry
from drgn.helpers.linux.mm import access_remote_vm
from drgn.helpers.linux.xarray import xa_load
prog = drgn.Program()
prog.set_core_dump(sys.argv[1])
try: prog.load_debug_info(sys.argv[3:])
except drgn.MissingDebugInfoError: pass
vms = []
for kvm in list_for_each_entry('struct kvm', prog['vm_list'].address_of_(), 'vm_list'):
    slots = kvm.memslots[0]
    node = f'gfn_node[{slots.node_idx.value_()}]'
    memory = sum(s.npages.value_() for s in rbtree_inorder_for_each_entry('struct kvm_memory_slot',
                                                                         slots.gfn_tree.address_of_(), node))
    mm = kvm.mm
    line = access_remote_vm(mm, mm.arg_start, (mm.arg_end - mm.arg_start).value_()).decode()
    vcpu = drgn.cast('struct kvm_vcpu *', xa_load(kvm.vcpu_array.address_of_(), 0))
    svm = drgn.container_of(vcpu, 'struct vcpu_svm', 'vcpu')
    save = svm.vmcb.save
    registers = {'r%d' % n: vcpu.arch.regs[n].value_() for n in range(8, 16)}
    registers |= {name: getattr(save, name).value_() for name in ('rip', 'rsp', 'rax', 'rflags', 'cr0', 'cr3', 'cr4',
                                                                   'efer', 'kernel_gs_base')}
    registers |= {name: vcpu.arch.regs[prog['VCPU_REGS_' + name.upper()]].value_()
                  for name in ('rbx', 'rcx', 'rdx', 'rbp', 'rsi', 'rdi')}
    registers |= {'gs_base': save.gs.base.value_(), 'cs': save.cs.selector.value_(), 'tr_base': save.tr.base.value_()}
    vms.append({'pid': kvm.userspace_pid.value_(), 'memory': memory * 4096, 'line': line.split(chr(0)),
                'vcpu_pid': vcpu.pid.numbers[0].nr.value_() if vcpu.pid else 0, 'registers': registers})
def name(frame):  # code without DWARF has a symbol only
    return frame.name or frame.symbol().name
stack = [[f.pc, name(f)] for f in prog.stack_trace(int(sys.argv[2])) if f.pc >> 63 and not f.is_inline]
print(json.dumps({'vms': vms, 'stack': stack}))
"""


def _check_guest(name: str, guest: dict[str, Any], release: str, vmcore: Path, compared: Comparison) -> None:
    """A guest inside the host's memory is opened as one that was captured by itself."""
    compared.equal((guest["os"]["release"], guest["crash"]["kind"]), (release, "none"), f"{name}: release, crash")
    line = next((r["text"] for r in guest["log"] if r["text"].startswith("Command line:")), "")
    compared.that(line.endswith(f"tenant={name}"), f"{name}: its log is its own: {line}")
    stack = guest["cpus"][0]["stack"]
    # The one that holds a secret in its registers spins in user mode, where there is no kernel stack.
    if int(stack[0]["address"], 16) >> 63:
        compared.that(len(stack) > 3 and all(f["reliable"] for f in stack),
                      f"{name}: stack {[f.get('symbol') for f in stack]}")
    else:
        task = guest["cpus"][0]["task"]["comm"]
        compared.that(task in ("hvd-registers", "hvd-env") or "busybox" in task, f"{name}: in user mode: {task}")
    compared.that({1} < {task["pid"] for task in guest["tasks"]}, f"{name}: {len(guest['tasks'])} tasks")
    address = run("hvdump-analyze", "read", vmcore, "saved_command_line", "8", "--json", "--partition", name).stdout
    pointer = int.from_bytes(bytes.fromhex(json.loads(address)["bytes"]), "little")
    text = run("hvdump-analyze", "read", vmcore, hex(pointer), "64", "--json", "--partition", name).stdout
    said = bytes.fromhex(json.loads(text)["bytes"]).split(b"\0")[0].decode()
    compared.that(said.endswith(f"tenant={name}"), f"{name}: saved_command_line: {said}")


def check(folder: Path, compared: Comparison) -> int:
    facts = facts_of(folder)
    kernel = Kernel.find(facts["kernel"])
    report = json.loads(run("hvdump-analyze", "triage", folder / "vmcore").stdout)
    validate(report, compared)
    host = report["partitions"][0]
    compared.equal(host["os"]["release"], facts["release"], "release")
    printed = re.search(r"CPU: (\d+) (?:UID: \d+ )?PID: \d+ Comm: \S+ Kdump", (folder / "console").read_text())
    compared.equal((host["crash"]["kind"], host["crash"]["cpu"]), ("panic", int(printed[1]) if printed else None),
                   "crash, and the CPU as printed")
    vms = {vm["name"]: vm for vm in host.get("vms", [])}
    compared.equal({n: vm["uuid"] for n, vm in vms.items()}, facts["uuids"], "names and uuids of the guests")
    text = run("hvdump-analyze", "triage", folder / "vmcore", "--format", "text").stdout.decode()
    compared.that("Virtual machines" in text and all(name in text for name in GUESTS), "the text report lists them")
    crashed = next(cpu for cpu in host["cpus"] if cpu["id"] == host["crash"]["cpu"])
    stack = crashed["stack"]
    compared.equal([f.get("symbol") for f in stack if not f["reliable"]], [], "unreliable frames of the panicking task")
    for vm in vms.values():
        cpu = vm["cpus"][0]["registers"]
        if vm["name"] in PATTERNED:  # no CPU of theirs ever ran
            continue
        placed = int(cpu["rip"], 16) >> 63 or int(cpu["cs"], 16) & 3 == 3
        compared.that(placed and int(cpu["cr3"], 16) < vm["memory_bytes"],
                      f"{vm['name']}: in its kernel or in user mode, by page tables in its memory: {cpu}")
    guests = {p["name"]: p for p in report["partitions"][1:]}
    compared.equal(sorted(guests), sorted((*GUESTS, *PATTERNED)), "the guests' own reports")
    for name in GUESTS:
        _check_guest(name, guests[name], facts["release"], folder / "vmcore", compared)
    if not kernel.has_debug_info:
        compared.note("not compared with drgn: no debug package (scripts/fetch-kernels --dbg)")
        return compared.verdict()
    if tuple(map(int, facts["release"].split(".")[:2])) >= (6, 4):
        compared.note("not compared with drgn: 0.0.22 does not find where this kernel's modules are")
        return compared.verdict()
    done = subprocess.run(["/usr/bin/python3", "-c", DRGN, folder / "vmcore",
                           str(crashed["task"]["pid"]), kernel.vmlinux,
                           *sorted(kernel.debug_modules.glob("*.ko"))], capture_output=True, text=True, timeout=900)
    if "No module named 'drgn'" in done.stderr:
        compared.note("not compared with drgn: it is not installed")
        return compared.verdict()
    if not compared.that(done.returncode == 0, "drgn opens the vmcore", done.stderr):
        return compared.verdict()
    theirs = json.loads(done.stdout)
    compared.equal([(pc, name) for pc, name in our_frames(stack)],
                   [(pc, plain(name)) for pc, name in theirs["stack"]], "stack of the panicking task")
    for vm in theirs["vms"]:
        name = vm["line"][vm["line"].index("-name") + 1]
        ours = vms[name]
        compared.equal((ours["pid"], ours["memory_bytes"]), (vm["pid"], vm["memory"]), f"{name}: pid, memory")
        cpu = ours["cpus"][0]
        compared.equal((len(ours["cpus"]), cpu["pid"]), (1, vm["vcpu_pid"]), f"{name}: vCPUs, its thread")
        registers = {n: int(value, 16) for n, value in cpu["registers"].items()}
        compared.equal({n: registers.get(n) for n in vm["registers"]}, vm["registers"], f"{name}: registers")
    compared.equal(len(theirs["vms"]), len(GUESTS) + len(PATTERNED), "guests that drgn sees")
    return compared.verdict()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    try:
        return check(options.folder, Comparison())
    except Skip as reason:
        print(f"SKIPPED: {reason}")
        return 77
    except (Failure, LabError) as error:
        print(f"FAILED: {error}")
        return 1


if __name__ == "__main__":
    sys.exit(main())
