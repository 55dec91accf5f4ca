"""Cores that do not help: VMCOREINFO without its tables, without the note at all, or with lies in it."""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from check_stacks import check_trace
from check_memory import occurrences
from comparison import Comparison
from product import Product, run
from vmcore import ElfDump


@contextmanager
def writable(path: Path) -> Iterator[mmap.mmap]:
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as data:
        yield data


def replace_all(path: Path, old: bytes, new: bytes) -> int:
    """Wherever it occurs, in notes and memory; says how often."""
    assert len(old) == len(new)
    found = sorted(set(occurrences(path, old)))
    with writable(path) as data:
        for at in found:
            data[at:at + len(new)] = new
    return len(found)


def notes_end(path: Path) -> int:
    note = next(s for s in ElfDump(path).segments if s.kind == 4)
    return note.offset + note.size


def hide_tables(core: Path) -> bool:
    return replace_all(core, b"SYMBOL(kallsyms_", b"SYMBOL(kallsymz_") > 3


def hide_note(core: Path) -> bool:
    """Makes another note of VMCOREINFO's; the original in the kernel's memory stays."""
    end = notes_end(core)
    with writable(core) as data:
        at = data.find(b"VMCOREINFO\0", 0, end)
        data[at:at + 10] = b"SOMETHING_"
    return at > 0


def lie(text: bytes) -> bytes:
    """VMCOREINFO of the same size with other places of all symbols and another KASLR offset."""
    lines = text.split(b"\n")
    for number, line in enumerate(lines):
        if line.startswith((b"SYMBOL(", b"KERNELOFFSET=")) and len(line) > 12:
            # One digit, of those for megabytes.
            digit = b"5" if line[-6:-5] != b"5" else b"3"
            lines[number] = line[:-6] + digit + line[-5:]
    return b"\n".join(lines)


def lie_in_note(core: Path) -> bool:
    end = notes_end(core)
    with writable(core) as data:
        start = data.find(b"VMCOREINFO\0", 0, end)
        data[start:end] = lie(data[start:end])
    return start > 0


def lie_in_memory(core: Path, product: Product) -> bool:
    """Plants VMCOREINFOs that lie in pages which nothing uses, before and after the true one."""
    true = _true_vmcoreinfo(core)
    load = max(ElfDump(core).loads, key=lambda s: s.size)
    planted = 0
    with writable(core) as data:
        for at in range(load.offset, load.offset + load.size - 4096, 4096):
            if data[at:at + 4096] == bytes(4096) and planted < 40:
                other = lie(true) if planted % 2 else true.replace(product.facts["release"].encode(), b"9.9.9")
                data[at:at + len(other)] = other
                planted += 1
    return planted > 0


def _true_vmcoreinfo(core: Path) -> bytes:
    return next(content for owner, _, content in ElfDump(core).notes() if owner == "VMCOREINFO")[:4000]


def check_search(product: Product, compared: Comparison) -> None:
    product.need(product.elf)
    _same(product.elf, product, compared, "the core as it is")
    cases = {"tables unnamed": lambda core: hide_tables(core),
             "without the note": lambda core: hide_note(core),
             "without the note, tables unnamed": lambda core: hide_note(core) and hide_tables(core),
             "with a lying note": lambda core: lie_in_note(core),
             "without the note, lies in memory": lambda core: lie_in_memory(core, product) and hide_note(core)}
    for how, change in cases.items():
        core = product.copy_of(product.elf, "search.elf")
        try:
            if compared.that(change(core), f"made a core {how}"):
                _same(core, product, compared, how)
        finally:
            core.unlink()


def _same(core: Path, product: Product, compared: Comparison, how: str) -> None:
    done = run("hvdump-analyze", "triage", core, expect=(0, 3))
    guest = json.loads(done.stdout)["partitions"][0]
    if not compared.equal(_summary(guest), _summary(product.guest), f"{how}: system, stack, tasks, modules, log"):
        compared.note(f"damage: {[f['text'] for f in guest['findings'] if f['rule'] == 'damage']}")
        return
    if product.scenario != "idle":
        cpu = next(c for c in guest["cpus"] if c["id"] == guest["crash"]["cpu"])
        check_trace(cpu["stack"], product, compared, f"the crashing CPU, {how}")


def _summary(guest: dict[str, Any]) -> dict[str, Any]:
    return {**guest["os"], "kind": guest["crash"]["kind"], "reason": guest["crash"]["reason"],
            "stacks": [[f"{f.get('symbol')}+{f.get('offset')}" for f in c["stack"]] for c in guest["cpus"]],
            "tasks": len(guest["tasks"]), "modules": len(guest["modules"]), "log": len(guest["log"])}
