"""Checks: stacks of a dead host and of its guests, and what gdb, crash and drgn say of the pieces."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

from check_machine_pages import check_injected, check_pages
from comparison import Comparison
from host import GUESTS
from images import Kernel
from machine_pieces import Split
from product import Failure, run_json

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


def check_referees(facts: dict[str, Any], folder: Path, split: Split, kernel: Kernel, compared: Comparison) -> None:
    if not kernel.has_debug_info:
        compared.note("not compared with gdb, crash and drgn: no debug package (scripts/fetch-kernels --dbg)")
        return
    new = tuple(map(int, facts["release"].split(".")[:2])) >= (6, 4)
    for guest in GUESTS:
        core = split.of[guest][0]
        done = subprocess.run(["gdb", "-nx", "-batch", "-x", f"{core}.gdb", "-ex", "x/s saved_command_line", "-ex", "bt"],
                              capture_output=True, text=True, errors="replace", timeout=900,
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
                          capture_output=True, text=True, errors="replace", timeout=900)
    compared.that("sysrq_handle_crash" in done.stdout and "kvm_amd" in done.stdout, "crash opens the host's image",
                  done.stdout[-2000:] + done.stderr[-1000:])


def drgn(core: Path, kernel: Kernel) -> Any:
    done = subprocess.run(["/usr/bin/python3", "-c", STACK, core, kernel.vmlinux], capture_output=True, text=True,
                          timeout=900, env={**os.environ, "DRGN_PREFER_ORC_UNWINDER": "1"})
    if done.returncode != 0:
        raise Failure(f"drgn does not open {core.name}: {done.stderr[-1000:]}")
    return json.loads(done.stdout)
