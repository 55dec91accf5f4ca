#!/usr/bin/python3
"""Windows dumps that hvdump-extract wrote, as other people's readers see them.

    windows_dumps.py RAW DUMP.dmp [DUMP.dmp ...]

RAW is the same guest's memory by `hvdump-extract partition --format raw`.  Each reader that is at hand shows the pages
of every dump, which must be the guest's but for those few where a dump differs on purpose: the debugger data in the
clear, and the registers of each CPU.  Readers that are not at hand are named and skipped:

    HVDUMP_KDMP_PARSER   kdmp-parser's program `parser`
    HVDUMP_VOLATILITY3   a folder with the Python package volatility3
    HVDUMP_LEECHCORE     LeechCore's library, leechcore.so
    HVDUMP_RIZIN         the program rizin
"""

from __future__ import annotations

import ctypes
import mmap
import os
import re
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

PAGE = 4096
CORRECTED = 8  # pages at most: a block of debugger data and a context for each of a few CPUs
Pages = dict[int, bytes]  # by physical address, what the reader shows of each page


def kdmp_parser(program: str, dump: Path) -> Pages:
    """Shows the first 16 bytes of every page."""
    said = subprocess.run([program, "-p", dump], capture_output=True, text=True, check=True).stdout
    found = re.findall(r"^\s*([0-9a-fA-F`]+):\s+((?:[0-9a-fA-F]{2}[ -]){15}[0-9a-fA-F]{2})", said, re.MULTILINE)
    return {int(at.replace("`", ""), 16): bytes.fromhex(text.replace("-", " ")) for at, text in found}


def volatility3(folder: str, dump: Path) -> Pages:
    sys.path.insert(0, folder)
    from volatility3.framework import contexts
    from volatility3.framework.layers import physical
    from volatility3.framework.layers.crash import WindowsCrashDump64Layer
    context = contexts.Context()
    context.config["base.location"] = dump.resolve().as_uri()
    context.layers.add_layer(physical.FileLayer(context, "base", "base"))
    context.config["crash.base_layer"] = "base"
    layer = WindowsCrashDump64Layer(context, "crash", "crash")
    context.layers.add_layer(layer)
    return {at: layer.read(at, PAGE) for start, _, length, _ in layer._segments
            for at in range(start, start + length, PAGE)}


def leechcore(library: str, dump: Path) -> Pages:
    class Config(ctypes.Structure):  # LC_CONFIG of leechcore.h
        _fields_ = [("version", ctypes.c_uint32), ("verbosity", ctypes.c_uint32), ("device", ctypes.c_char * 260),
                    ("remote", ctypes.c_char * 260), ("print_function", ctypes.c_void_p), ("highest", ctypes.c_uint64),
                    ("rest", ctypes.c_char * 1024)]

    class Range(ctypes.Structure):  # LC_MEMMAP_ENTRY
        _fields_ = [("begin", ctypes.c_uint64), ("size", ctypes.c_uint64), ("there", ctypes.c_uint64)]

    core = ctypes.CDLL(library)
    core.LcCreate.restype = ctypes.c_void_p
    core.LcCommand.argtypes = [ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint32, ctypes.c_void_p, ctypes.c_void_p,
                               ctypes.c_void_p]
    core.LcRead.argtypes = [ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint32, ctypes.c_char_p]
    core.LcClose.argtypes = [ctypes.c_void_p]
    config = Config(version=0xC0FD0002, device=f"file://{dump.resolve()}".encode())
    handle = core.LcCreate(ctypes.byref(config))
    if not handle:
        return {}
    out, page = {}, ctypes.create_string_buffer(PAGE)
    answer, size = ctypes.c_void_p(), ctypes.c_uint32()
    # Otherwise it takes the file for plain memory.
    if core.LcCommand(handle, 0x0000020100000000, 0, None, ctypes.byref(answer), ctypes.byref(size)) and \
            core.LcCommand(handle, 0x4000040000000000, 0, None, ctypes.byref(answer), ctypes.byref(size)):
        for part in (Range * (size.value // ctypes.sizeof(Range))).from_address(answer.value or 0):
            for at in range(part.begin, part.begin + part.size, PAGE):
                if core.LcRead(handle, at, PAGE, page):
                    out[at] = page.raw
    core.LcClose(handle)
    return out


def rizin(program: str, dump: Path) -> Pages:
    """Asked for the pages that the dump says it has: it does not list them."""
    data = dump.read_bytes()
    bits = struct.unpack_from("<Q", data, 0x2030)[0]
    bitmap = int.from_bytes(data[0x2038:0x2038 + bits // 8], "little")
    present = [n for n in range(bits) if bitmap >> n & 1]
    script = "".join(f"p8 {PAGE} @ {n * PAGE:#x}\n" for n in present)
    with tempfile.NamedTemporaryFile("w", suffix=".rz") as commands:
        commands.write(script)
        commands.flush()
        done = subprocess.run([program, "-q", "-N", "-e", "scr.color=0", "-i", commands.name, f"dmp://{dump.resolve()}"],
                              capture_output=True, text=True, check=True, env=os.environ | {"RZ_CURL": "0"})
    shown = [line for line in done.stdout.split() if len(line) == 2 * PAGE]
    return {n * PAGE: bytes.fromhex(text) for n, text in zip(present, shown)}


READERS = {"kdmp-parser": ("HVDUMP_KDMP_PARSER", kdmp_parser, {1, 5, 6}),
           "Volatility 3": ("HVDUMP_VOLATILITY3", volatility3, {1, 5}),
           "LeechCore": ("HVDUMP_LEECHCORE", leechcore, {1, 5, 6}),
           # It reads the runs of type 1 from the wrong place.
           "rizin": ("HVDUMP_RIZIN", rizin, {5, 6})}


def compare(pages: Pages, memory: mmap.mmap, claimed: int) -> Iterator[str]:
    if len(pages) != claimed:
        yield f"{len(pages)} pages where the header says {claimed}"
    different = [at for at, shown in pages.items() if memory[at:at + len(shown)] != shown]
    if len(different) > CORRECTED:
        yield f"{len(different)} pages are not the guest's, the first at {different[0]:#x}"


def main() -> int:
    if len(sys.argv) < 3:
        print(__doc__)
        return 2
    compared = wrong = 0
    with open(sys.argv[1], "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as memory:
        for dump in map(Path, sys.argv[2:]):
            with dump.open("rb") as header:
                begin = header.read(0x2000)
            kind, claimed = struct.unpack_from("<I", begin, 0xF98)[0], struct.unpack_from("<Q", begin, 0x90)[0]
            for name, (variable, reader, kinds) in READERS.items():
                place = os.environ.get(variable)
                if not place:
                    print(f"  SKIPPED {name}: {variable} does not say where it is")
                    continue
                if kind not in kinds:
                    print(f"          {name} does not read type {kind}: {dump.name}")
                    continue
                problems = list(compare(reader(place, dump), memory, claimed))
                compared += 1
                wrong += bool(problems)
                print(f"  {'WRONG' if problems else 'ok   '} {name}: {dump.name}, type {kind}: "
                      f"{'; '.join(problems) or f'{claimed} pages'}")
    print(f"{compared} comparisons, {wrong} wrong")
    return 77 if not compared else 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
