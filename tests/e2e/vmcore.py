"""Turns QEMU's ELF dump into one that a debugger of the kernel can open.

QEMU's dump-guest-memory gives physical addresses only.  drgn and gdb want what /proc/vmcore has:
program headers for the direct map and for the kernel's text as well.  This is the lab's own
conversion, so that the debuggers can be asked about a guest without hvdump having a say.
"""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

KERNEL_TEXT = 0xFFFF_FFFF_8000_0000  # __START_KERNEL_map
KERNEL_TEXT_SIZE = 0x4000_0000  # KERNEL_IMAGE_SIZE with KASLR

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SEGMENT = struct.Struct("<IIQQQQQQ")
_PT_LOAD, _PT_NOTE = 1, 4


@dataclass(frozen=True)
class Segment:
    kind: int
    flags: int
    offset: int
    va: int
    pa: int
    size: int

    def pack(self, shift: int) -> bytes:
        return _SEGMENT.pack(self.kind, self.flags, self.offset + shift, self.va, self.pa,
                             self.size, self.size, 0)


class ElfDump:
    """An ELF core with physical segments; reads physical memory and the VMCOREINFO note."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self.header = _HEADER.unpack(self._file.read(_HEADER.size))
        table, count = self.header[5], self.header[10]
        if self.header[0][:5] != b"\x7fELF\x02" or count == 0xFFFF:
            raise ValueError(f"{path} is not a 64-bit ELF core with ordinary program headers")
        self._file.seek(table)
        raw = [_SEGMENT.unpack(self._file.read(_SEGMENT.size)) for _ in range(count)]
        self.segments = [Segment(k, f, o, va, pa, size) for k, f, o, va, pa, size, _, _ in raw]

    @property
    def loads(self) -> list[Segment]:
        return [s for s in self.segments if s.kind == _PT_LOAD]

    def read(self, pa: int, size: int) -> bytes:
        for segment in self.loads:
            if segment.pa <= pa and pa + size <= segment.pa + segment.size:
                self._file.seek(segment.offset + pa - segment.pa)
                return self._file.read(size)
        raise ValueError(f"physical address {pa:#x} is not in the dump")

    def notes(self) -> Iterator[tuple[str, int, bytes]]:
        """(owner, type, content) of each note."""
        segment = next(s for s in self.segments if s.kind == _PT_NOTE)
        self._file.seek(segment.offset)
        data = self._file.read(segment.size)
        at = 0
        while at + 12 <= len(data):
            name_size, size, kind = struct.unpack_from("<III", data, at)
            name, body = at + 12, at + 12 + (name_size + 3 & ~3)
            yield data[name:name + name_size].rstrip(b"\0").decode(), kind, data[body:body + size]
            at = body + (size + 3 & ~3)

    def vmcoreinfo(self) -> dict[str, str]:
        for owner, _, content in self.notes():
            if owner == "VMCOREINFO":
                lines = content.decode("ascii", "replace").split("\n")
                return dict(line.split("=", 1) for line in lines if "=" in line)
        raise ValueError("the dump has no VMCOREINFO note: did the guest have the vmcoreinfo device?")

    def cpu_registers(self) -> list[bytes]:
        """Of each CPU, laid out as the kernel's struct pt_regs; from the NT_PRSTATUS notes."""
        # pr_reg begins at 112; its first 21 words are a pt_regs, in the same order.
        return [content[112:112 + 21 * 8] for owner, kind, content in self.notes()
                if owner == "CORE" and kind == 1]


def symbol(vmlinux: Path, name: str) -> int:
    """As linked, that is, without the offset of KASLR."""
    listing = subprocess.run(["nm", vmlinux], capture_output=True, text=True, check=True).stdout
    found = re.search(rf"^([0-9a-f]+) \w {re.escape(name)}$", listing, re.MULTILINE)
    if not found:
        raise ValueError(f"{vmlinux} has no symbol {name}")
    return int(found[1], 16)


def with_old_orc(vmlinux: Path, path: Path) -> None:
    """Copies a kernel, with its ORC tables in the layout that kernels before 6.4 had.

    Linux commit ffb1b4a41016 ("x86/unwind/orc: Add 'signal' field to ORC metadata") and fb799447ae29
    ("x86,objtool: Split UNWIND_HINT_EMPTY in two"), both 6.3/6.4, renumbered the types.  drgn 0.0.22
    does not know; it would report "unknown ORC entry type 3" and give up on the stack.
    """
    headers = subprocess.run(["readelf", "-SW", vmlinux], capture_output=True, text=True,
                             check=True).stdout
    shutil.copyfile(vmlinux, path)
    found = re.search(r"\] \.orc_unwind +\w+ +\w+ (\w+) (\w+)", headers)
    if not found or ".orc_header" not in headers:  # the header came with the new layout
        return
    # Undefined, end of stack, call, regs, partial regs; in the old layout the end has a bit of its own.
    types = {0: None, 1: 0x400, 2: 0x000, 3: 0x100, 4: 0x200}
    translated = {}
    for flags in range(0x10000):
        kind = types.get(flags >> 8 & 7)
        translated[flags] = 0 if kind is None else kind | (0 if kind == 0x400 else flags & 0xFF)
    with path.open("r+b") as file:
        file.seek(int(found[1], 16))
        words = array("H", file.read(int(found[2], 16)))
        words[2::3] = array("H", [translated[flags] for flags in words[2::3]])
        file.seek(int(found[1], 16))
        file.write(words.tobytes())


def as_vmcore(qemu_dump: Path, vmlinux: Path, path: Path) -> Path:
    """Writes the dump again with the two kernel mappings added; the data stay as they are."""
    dump = ElfDump(qemu_dump)
    info = dump.vmcoreinfo()
    phys_base = int(info["NUMBER(phys_base)"], 0)
    offset = int(info["KERNELOFFSET"], 16)
    pointer = symbol(vmlinux, "page_offset_base") + offset - KERNEL_TEXT + phys_base
    direct_map = int.from_bytes(dump.read(pointer, 8), "little")

    segments = [s for s in dump.segments if s.kind == _PT_NOTE]
    text_pa = phys_base + 0
    for load in dump.loads:
        segments.append(Segment(_PT_LOAD, 7, load.offset, direct_map + load.pa, load.pa, load.size))
        # The part of this segment that the kernel's text mapping shows, if any.
        begin = max(load.pa, text_pa, 0)
        end = min(load.pa + load.size, text_pa + KERNEL_TEXT_SIZE)
        if begin < end:
            segments.append(Segment(_PT_LOAD, 7, load.offset + begin - load.pa,
                                    KERNEL_TEXT + begin - phys_base, begin, end - begin))

    header = list(dump.header)
    header[5], header[6] = _HEADER.size, 0  # program headers follow; no sections
    header[10], header[11], header[12], header[13] = len(segments), 0, 0, 0
    shift = _HEADER.size + len(segments) * _SEGMENT.size
    with path.open("wb") as out, qemu_dump.open("rb") as data:
        out.write(_HEADER.pack(*header) + b"".join(s.pack(shift) for s in segments))
        shutil.copyfileobj(data, out, 16 << 20)
    return path
