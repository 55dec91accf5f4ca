#!/usr/bin/python3
"""drgn_frames.py VMCORE VMLINUX [MODULE.ko ...]: stacks according to drgn, as JSON, for referees.py.

A process of its own since drgn may crash, and keeps what it loaded.  Two kinds of frames Debian 12's
drgn (0.0.22) cannot cross: those of modules, in kernels from 6.4 on, whose module list it does not
understand; and the jump from the IRQ stack back to the task's.  This script steps over them with the
ORC tables that the kernel keeps in memory, as the kernel itself does, and hands the rest to drgn.
"""

from __future__ import annotations

import json
import struct
import sys
from pathlib import Path
from typing import Any

import drgn
from drgn.helpers.linux.list import list_for_each_entry
from drgn.helpers.linux.percpu import per_cpu
from drgn.helpers.linux.pid import for_each_task
from vmcore import ElfDump

Frame = dict[str, Any]
# ORC_REG_*; the other bases occur in entry code only, where drgn copes.
_PREV_SP, _BP, _SP, _SP_INDIRECT = 1, 4, 5, 9


class Orc:
    """Steps over frames that drgn cannot cross."""

    def __init__(self, prog: drgn.Program) -> None:
        self.prog = prog
        self.modules = [m for m in list_for_each_entry(
            "struct module", prog["modules"].address_of_(), "list")]

    def find(self, pc: int) -> drgn.Object | None:
        for module in self.modules:
            base, size = _text_of(module)
            if pc - base in range(size):
                return module
        return None

    def name(self, module: drgn.Object, pc: int) -> str:
        table = module.kallsyms
        best = (0, "?")
        for i in range(table.num_symtab.value_()):
            symbol = table.symtab[i]
            value = symbol.st_value.value_()
            if symbol.st_shndx and best[0] < value <= pc:
                name = (table.strtab + symbol.st_name.value_()).string_().decode()
                if name and not name.startswith("__pfx_"):
                    best = (value, name)
        return best[1]

    def entry(self, module: drgn.Object | None, pc: int) -> drgn.Object | None:
        """The last entry at or before `pc`."""
        if module is not None:
            ips, entries = module.arch.orc_unwind_ip, module.arch.orc_unwind
            count = module.arch.num_orcs.value_()
        else:
            start, stop, table = (self.prog.symbol(name).address for name in (
                "__start_orc_unwind_ip", "__stop_orc_unwind_ip", "__start_orc_unwind"))
            ips, count = drgn.Object(self.prog, "int *", start), (stop - start) // 4
            entries = drgn.Object(self.prog, "struct orc_entry *", table)
        below, above = -1, count
        while above - below > 1:
            middle = (below + above) // 2
            at = ips + middle  # each is relative to its own place
            if at.value_() + at[0].value_() <= pc:
                below = middle
            else:
                above = middle
        return entries[below] if below >= 0 else None

    def step(self, entry: drgn.Object, sp: int, bp: int) -> tuple[int, int, int] | None:
        """(pc, sp, bp) of the caller."""
        base, offset = entry.sp_reg.value_(), entry.sp_offset.value_()
        if base not in (_BP, _SP, _SP_INDIRECT):
            return None
        # The IRQ stack's first word is the stack pointer of the stack that was left.
        start = {_BP: bp, _SP: sp}.get(base) or self.prog.read_u64(sp)
        previous = start + offset
        if entry.bp_reg.value_() == _PREV_SP:  # the caller's rbp was pushed
            bp = self.prog.read_u64(previous + entry.bp_offset.value_())
        return self.prog.read_u64(previous - 8), previous, bp


def _text_of(module: drgn.Object) -> tuple[int, int]:
    try:
        text = module.mem[0]  # MOD_TEXT, since 6.4
    except AttributeError:
        text = module.core_layout
    return text.base.value_(), text.size.value_()


def _frames(trace: drgn.StackTrace) -> list[Frame]:
    """Those with a program counter: where drgn cannot go on it may add frames of nothing."""
    frames = []
    for frame in trace:
        try:
            pc = frame.pc
        except LookupError:
            break
        if pc == 0:
            break
        name = frame.name
        if name is None:
            try:
                name = frame.symbol().name
            except LookupError:
                name = None
        frames.append({"name": name, "inlined": frame.is_inline, "pc": pc, "module": None})
    return frames


def current(prog: drgn.Program, cpu: int) -> drgn.Object:
    """The task whose stack the CPU is on.  In the middle of a switch the run queue names the next one already."""
    try:
        return per_cpu(prog["pcpu_hot"], cpu).current_task  # 6.2 to 6.14
    except KeyError:
        return per_cpu(prog["current_task"], cpu)


def unwind(prog: drgn.Program, orc: Orc, start: Any) -> list[Frame]:
    """drgn's frames, and Orc's where drgn stops."""
    try:
        trace = prog.stack_trace(start)
    except drgn.FaultError:
        return []  # a zombie: its stack is gone already
    frames: list[Frame] = []
    called_from = 0  # the return address where Orc handed over to drgn
    for _ in range(64):
        found = _frames(trace)
        # Where drgn knows nothing about a module's frame, its guess at the next one is worthless.
        unknown = (i for i, f in enumerate(found) if f["name"] is None and orc.find(f["pc"]))
        cut = next(unknown, len(found) - 1)
        if cut < 0:
            break
        last, found = trace[cut], found[:cut + 1]
        pc, sp, bp = last.pc, _register(last, "rsp"), _register(last, "rbp")
        # A return address may be the first byte of the next function.
        looked_up = pc if last.interrupted else pc - 1
        module = orc.find(pc)
        entry = orc.entry(module, looked_up) if pc >> 63 else None  # none in user mode
        in_module = module is not None and found[cut]["name"] is None
        if module is not None and in_module:
            found[cut]["name"] = orc.name(module, looked_up)
            found[cut]["module"] = module.name.string_().decode()
        for frame in found:
            if frame["pc"] == called_from - 1:
                frame["pc"] = called_from
        frames += found
        if entry is None or not (in_module or entry.sp_reg.value_() == _SP_INDIRECT):
            break
        caller = orc.step(entry, sp, bp)
        if caller is None:
            break
        # drgn takes this for an interrupted instruction, hence the call rather than what follows it.
        called_from = caller[0]
        trace = prog.stack_trace(_registers(prog, called_from - 1, *caller[1:]))
    return frames


def _register(frame: drgn.StackFrame, name: str) -> int:
    try:
        return int(frame.register(name))
    except LookupError:
        return 0


def _registers(prog: drgn.Program, pc: int, sp: int, bp: int) -> drgn.Object:
    words = [0] * 21
    words[4], words[16], words[17], words[19] = bp, pc, 0x10, sp
    return drgn.Object.from_bytes_(prog, "struct pt_regs", struct.pack("<21Q", *words))


def main() -> None:
    core, vmlinux, *modules = sys.argv[1:]
    prog = drgn.Program()
    prog.set_core_dump(core)
    problems = []
    try:
        prog.load_debug_info([vmlinux, *modules])
    except drgn.MissingDebugInfoError as error:
        problems.append(str(error).split("\n")[-1])
    orc = Orc(prog)
    cpus = []
    # From the notes' registers.  stack_trace(task) would need pr_pid in the note to be the task's.
    for cpu, registers in enumerate(ElfDump(Path(core)).cpu_registers()):
        task = current(prog, cpu)
        start = drgn.Object.from_bytes_(prog, "struct pt_regs", registers)
        cpus.append({"cpu": cpu, "pid": task.pid.value_(), "comm": task.comm.string_().decode(),
                     "frames": unwind(prog, orc, start)})
    tasks = []
    running = {c["pid"] for c in cpus}
    for task in for_each_task(prog):
        entry = {"pid": task.pid.value_(), "ppid": task.real_parent.tgid.value_(),
                 "comm": task.comm.string_().decode(), "address": task.value_()}
        if entry["pid"] not in running:
            entry["frames"] = unwind(prog, orc, task)
        tasks.append(entry)
    json.dump({"cpus": cpus, "tasks": tasks, "problems": problems}, sys.stdout)


if __name__ == "__main__":
    main()
