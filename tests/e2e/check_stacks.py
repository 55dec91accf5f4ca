"""Stacks: ours, made without debug packages, against the kernel's own trace and against drgn's."""

from __future__ import annotations

import re
from typing import Any

from call_trace import TraceEntry, printed_call_trace
from comparison import Comparison
from product import Product
from referees import Frame

# drgn names code without DWARF by any symbol there; these are at one address, or one is within the other.
SAME = {"entry_SYSCALL_64_after_hwframe": "entry_SYSCALL_64", "end_repeat_nmi": "asm_exc_nmi",
        "nmi_restore": "asm_exc_nmi", "secondary_startup_64_no_verify": "secondary_startup_64",
        "common_startup_64": "secondary_startup_64"}
OURS = dict[str, Any]


def plain(name: str | None) -> str:
    """A function's name as DWARF has it, without what the compiler appends to its pieces."""
    name = re.sub(r"(\.(cold|constprop|isra|part|llvm)(\.\d+)?)+$", "", name or "?")
    return SAME.get(name, name)


def check_printed_trace(product: Product, compared: Comparison) -> None:
    """The crashing CPU's stack ends as the trace that the kernel printed, gapless."""
    for cpu in product.guest["cpus"]:
        doubtful = [f["symbol"] for f in cpu["stack"] if not f["reliable"]]
        compared.equal(doubtful, [], f"unreliable frames of CPU {cpu['id']} ({len(cpu['stack'])} frames)")
    if product.scenario == "idle":
        compared.that(product.guest["crash"]["kind"] == "none", "nothing has crashed", product.guest["crash"])
        return
    check_trace(product.crashing_cpu["stack"], product, compared, "the crashing CPU")


def printed_entries(product: Product) -> list[TraceEntry]:
    """What must still be on the stack of what the kernel printed: dump_stack(), which printed it, is gone."""
    entries = printed_call_trace(product.console)
    return entries[1:] if entries[0].symbol.startswith("dump_stack") else entries


def check_trace(stack: list[OURS], product: Product, compared: Comparison, whose: str) -> None:
    printed = printed_entries(product)
    # panic() went on after it had printed this, so its offset is another one by now.
    theirs = [e.symbol if e.symbol == "panic" else f"{e.symbol}+{e.offset:#x}" for e in printed]
    frames = [f for f in stack if not f.get("inlined")]
    ours = [f["symbol"] if f.get("symbol") == "panic" else f"{f.get('symbol')}+{f.get('offset', 0):#x}" for f in frames]
    start = ours.index(theirs[0]) if theirs[0] in ours else len(ours)
    if not compared.equal(ours[start:], theirs,
                          f"the printed trace, {len(theirs)} entries after {start} inner ones, of {whose}"):
        compared.note(f"whole stack: {ours}")
    modules = [f.get("module") or None for f in frames][start:]
    compared.equal(modules, [e.module for e in printed], f"modules of these frames, of {whose}")


def kernel_frames(frames: list[Frame]) -> list[tuple[int, str]]:
    """drgn goes on into user mode."""
    out = []
    for frame in frames:
        if not frame.pc >> 63:
            break
        if not frame.inlined:
            out.append((frame.pc, plain(frame.name)))
    return out


def our_frames(stack: list[OURS]) -> list[tuple[int, str]]:
    """Those in the kernel; for a CPU in user mode there is one, and that is not."""
    frames = [(int(f["address"], 16), plain(f.get("symbol"))) for f in stack if not f.get("inlined")]
    return [frame for frame in frames if frame[0] >> 63]


def check_against_drgn(product: Product, compared: Comparison) -> None:
    """Every CPU and every task, frame by frame."""
    theirs = product.drgn
    guest = product.guest
    compared.equal(len(guest["cpus"]), len(theirs.cpus), "CPUs")
    for cpu, frames, task in zip(guest["cpus"], theirs.cpus, theirs.running):
        compared.equal((cpu["task"]["pid"], cpu["task"]["comm"]), task, f"task of CPU {cpu['id']}")
        _compare(cpu["stack"], frames, f"CPU {cpu['id']}, {task[1]}", compared)
    tasks = {t["pid"]: t for t in guest["tasks"]}
    running = {pid for pid, _ in theirs.running}
    compared.equal(sorted((t["pid"], t["comm"]) for t in guest["tasks"] if t["pid"]),
                   sorted((t.pid, t.comm) for t in theirs.tasks), f"the {len(theirs.tasks)} tasks")
    frames_equal = 0
    for task in theirs.tasks:
        if task.pid in running or task.pid not in tasks:
            continue
        ours, expected = our_frames(tasks[task.pid]["stack"]), kernel_frames(task.frames)
        frames_equal += len(expected)
        if tasks[task.pid]["state"] == "Z":
            compared.equal(_text(ours), [], f"stack of {task.pid} {task.comm}, a zombie, whose stack may be gone")
        elif ours != expected:
            compared.equal(_text(ours), _text(expected), f"stack of {task.pid} {task.comm}")
    compared.that(frames_equal > 100, f"{frames_equal} frames of sleeping tasks")
    nameless = [f"{t['pid']} {f}" for t in guest["tasks"] if t["pid"] not in running
                for f in t["stack"] if "symbol" not in f and f["reliable"]]
    compared.equal(nameless, [], "frames without a function that count as reliable")
    for name in ("crashme-sleeps", "crashme-waits"):
        stack = next(t["stack"] for t in guest["tasks"] if t["comm"] == name)
        # Its innermost frames are the scheduler's; printed names are those in crashme.c.
        names = [plain(f["symbol"]) for f in stack if f.get("module") == "crashme"]
        compared.equal(names, ["crashme_sleep_here", "crashme_sleeper"], f"the module's frames of {name}")
        compared.that(all(f["reliable"] for f in stack), f"{name}: all {len(stack)} frames are reliable")


# What a kernel stack begins in, besides user mode.
BEGINNINGS = ("ret_from_fork", "secondary_startup", "common_startup", "start_kernel", "entry_", "asm_")


def _compare(stack: list[OURS], frames: list[Frame], whose: str, compared: Comparison) -> None:
    ours, theirs = _text(our_frames(stack)), _text(kernel_frames(frames))
    # Nothing begins in __schedule(), whose frame is found by rbp, which drgn 0.0.22 loses where an NMI came in; nor in
    # any other function that one interrupted, where it does not always find its way on in newer kernels' code.
    interrupted = len(theirs) > 1 and theirs[-2].startswith("asm_exc_nmi@") and not theirs[-1].startswith(BEGINNINGS)
    if theirs and (interrupted or theirs[-1].startswith("__schedule@")) and len(ours) > len(theirs):
        compared.note(f"drgn goes no further than {theirs[-1]}: {ours[len(theirs):]}")
        if interrupted:
            compared.that(all(frame["reliable"] for frame in stack), f"stack of {whose}: none of it a guess")
        ours = ours[:len(theirs)]
    compared.equal(ours, theirs, f"stack of {whose}")


def _text(frames: list[tuple[int, str]]) -> list[str]:
    return [f"{name}@{pc:x}" for pc, name in frames]
