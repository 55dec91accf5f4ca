#!/usr/bin/python3
"""Windows dumps that hvdump-extract wrote, as other people's readers see them.

    windows_dumps.py RAW DUMP.dmp [DUMP.dmp ...]

RAW is the same guest's memory by `hvdump-extract partition --format raw`.  Each reader that is at hand shows the pages
of every dump, which must be the guest's but for those few where a dump differs on purpose: the debugger data in the
clear, and the registers of each CPU.  Readers that are not at hand are named and skipped:

    HVDUMP_KDMP_PARSER   kdmp-parser's program `parser`
    HVDUMP_VOLATILITY3   a folder with the Python package volatility3
"""

from __future__ import annotations

import mmap
import os
import re
import struct
import subprocess
import sys
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


READERS = {"kdmp-parser": ("HVDUMP_KDMP_PARSER", kdmp_parser, {1, 5, 6}),
           "Volatility 3": ("HVDUMP_VOLATILITY3", volatility3, {1, 5})}


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
