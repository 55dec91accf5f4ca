"""Reads the call trace that a dying kernel prints, the referee for unwinding."""

from __future__ import annotations

import re
from typing import NamedTuple

_TIME = re.compile(r"^\[ *\d+\.\d+\](\[[ TC]*\d+\])? ?", re.MULTILINE)
_ENTRY = re.compile(r"^ ?(\? )?(?:RIP: 0010:)?([\w.]+)\+0x([0-9a-f]+)/0x[0-9a-f]+(?: \[(\w+)\])?")
_STACK = re.compile(r"^ <(/?)([\w#-]+)>$")
# What comes after a trace that is not closed by a marker.
_END = re.compile(r"^(---\[|Modules linked in|Kernel Offset|CR2: |Mem-Info)")


class TraceEntry(NamedTuple):
    symbol: str
    offset: int  # of the return address, or of RIP itself
    module: str | None
    stack: str  # "TASK", "IRQ", "NMI", ...; for RIP the stack it was on
    is_rip: bool  # from a RIP line: an interrupted instruction, not a return address


def printed_call_trace(console: str) -> list[TraceEntry]:
    """The trace of the crash, innermost first, without the doubtful entries (marked "?").

    That is the one panic() prints, or, where it prints none because an oops has just done so, the
    oops's; the latter begins with the RIP of the faulting instruction.
    """
    lines = _TIME.sub("", console).split("\n")
    panic = next((i for i, line in enumerate(lines) if line.startswith("Kernel panic")), None)
    if panic is None:
        raise ValueError("the console shows no panic")
    traces = [i for i, line in enumerate(lines) if line.startswith("Call Trace:")]
    if not traces:
        raise ValueError("the console shows no call trace")
    # The first one after the panic, else the last one before.
    start = next((i for i in traces if i > panic), traces[-1])

    entries: list[TraceEntry] = []
    stack = "TASK"
    for line in lines[start + 1:]:
        if _END.match(line):
            break
        if marker := _STACK.match(line):
            if line == " </TASK>":  # the outermost stack
                break
            stack = marker[2] if not marker[1] else "TASK"
        elif entry := _entry(line, stack):
            entries.append(entry)

    rip = _oops_rip(lines, start) if start < panic else None
    if rip is not None:
        entries.insert(0, rip._replace(stack=entries[0].stack if entries else "TASK"))
    return entries


def _oops_rip(lines: list[str], start: int) -> TraceEntry | None:
    for line in reversed(lines[max(0, start - 30):start]):
        if line.startswith("RIP: 0010:"):
            return _entry(line, "")
    return None


def _entry(line: str, stack: str) -> TraceEntry | None:
    found = _ENTRY.match(line)
    if not found or found[1]:
        return None
    return TraceEntry(found[2], int(found[3], 16), found[4], stack, "RIP: " in line)
