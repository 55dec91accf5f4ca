"""A reader of Windows dumps for the tests, written from the public descriptions of the format alone."""

from __future__ import annotations

import struct
from pathlib import Path

PAGE = 4096
# Offset and size, of DUMP_HEADER64.
HEADER_FIELDS = {
    "major": (8, 4), "build": (0xC, 4), "directory_table_base": (0x10, 8), "pfn_database": (0x18, 8),
    "loaded_modules": (0x20, 8), "active_processes": (0x28, 8), "machine": (0x30, 4), "processors": (0x34, 4),
    "bugcheck_code": (0x38, 4), "bugcheck_1": (0x40, 8), "bugcheck_2": (0x48, 8), "bugcheck_3": (0x50, 8),
    "bugcheck_4": (0x58, 8), "debugger_data": (0x80, 8), "run_count": (0x88, 4), "page_count": (0x90, 8),
    "dump_type": (0xF98, 4), "required_dump_space": (0xFA0, 8), "system_time": (0xFA8, 8), "up_time": (0x1030, 8),
    "product_type": (0x1040, 4), "suite_mask": (0x1044, 4)}
_CONTEXT = 0x348
# As CONTEXT has them, from 0x78.
REGISTERS = ("rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
              "rip")


class WindowsDumpFile:
    def __init__(self, path: Path) -> None:
        self._data = path.read_bytes()
        if self._data[:8] != b"PAGEDU64":
            raise ValueError(f"{path} is no Windows dump")

    @property
    def size(self) -> int:
        return len(self._data)

    def field(self, name: str) -> int:
        at, size = HEADER_FIELDS[name]
        return int.from_bytes(self._data[at:at + size], "little")

    def context(self) -> dict[str, int]:
        out = dict(zip(REGISTERS, struct.unpack_from("<17Q", self._data, _CONTEXT + 0x78)))
        out["mxcsr"] = struct.unpack_from("<I", self._data, _CONTEXT + 0x34)[0]
        out["mxcsr2"] = struct.unpack_from("<I", self._data, _CONTEXT + 0x118)[0]
        return out

    # Of the bitmap types.

    @property
    def first_page(self) -> int:
        return int(struct.unpack_from("<Q", self._data, 0x2020)[0])

    @property
    def total_present(self) -> int:
        return int(struct.unpack_from("<Q", self._data, 0x2028)[0])

    @property
    def bits(self) -> int:
        return int(struct.unpack_from("<Q", self._data, 0x2030)[0])

    def _bitmap(self) -> int:
        return int.from_bytes(self._data[0x2038:0x2038 + self.bits // 8], "little")

    def bitmap_count(self) -> int:
        return bin(self._bitmap()).count("1")

    def pages(self) -> dict[int, bytes]:
        """By page number."""
        data, out = self._data, {}
        if self.field("dump_type") == 1:
            at = 0x2000
            for i in range(self.field("run_count")):
                first, count = struct.unpack_from("<QQ", self._data, 0x98 + 16 * i)
                for n in range(first, first + count):
                    out[n] = data[at:at + PAGE]
                    at += PAGE
            return out
        bitmap, at = self._bitmap(), self.first_page
        for n in range(self.bits):
            if bitmap >> n & 1:
                out[n] = data[at:at + PAGE]
                at += PAGE
        return out
