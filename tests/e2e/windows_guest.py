"""A guest that a debugger takes for Windows (windows/), and what it says is true of itself."""

from __future__ import annotations

import re
import secrets
import struct
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from images import LabError, built, cache, hash_of, run_tool
from lab import Machine

SOURCES = Path(__file__).resolve().parent / "windows"
# File, name of the PDB, version.
IMAGES = {"ntoskrnl.exe": ("ntkrnlmp.pdb", "10.0.19041.1"), "archive.sys": ("archive.pdb", "3.1.4.159"),
          "tapebus.sys": ("tapebus.pdb", "2.7.1.828")}
PAGE = 4096

# What each guest is started with; "random" stands for places that differ in every run.
VARIANTS = {
    "plain": "",
    "note": "note",
    "kaslr": "random",
    "encoded": "random encoded",
    "encoded-note": "random encoded note stall",
    "shadow": "random encoded shadow",
    "large": "random large encoded stall",
    "la57": "random la57",
    "live": "random live shadow",
}

_COMMON = ["-std=gnu2x", "-O1", "-ffreestanding", "-fno-builtin", "-fno-stack-protector", "-mno-red-zone", "-mno-sse",
           "-mno-mmx", "-Wall", "-Wextra", "-Werror", "-I", str(SOURCES)]
# Frames are counted, so no call may take its caller's place.
_WINDOWS = ["clang-19", "--target=x86_64-pc-windows-msvc", *_COMMON, "-fno-optimize-sibling-calls",
            "-mno-stack-arg-probe", "-fasynchronous-unwind-tables", "-g", "-gcodeview", "-c"]
_BARE = ["clang-19", "--target=x86_64-unknown-none-elf", *_COMMON, "-fno-pic", "-c"]
_LINK = ["lld-link-19", "/driver", "/nodefaultlib", "/machine:x64", "/subsystem:native", "/debug:full", "/opt:noref",
         "/opt:noicf", "/dynamicbase", "/align:4096"]


def _link(folder: Path, name: str, entry: str, base: int, timestamp: int, *inputs: str) -> None:
    stem = name.split(".")[0]
    pdb, version = IMAGES[name]
    run_tool(["llvm-rc-19", "/D", f"VERSION={version.replace('.', ',')}", "/D", f'NAME="{name}"', "/FO", f"{stem}.res",
              "--", str(SOURCES / "version.rc")], cwd=folder)
    run_tool([*_LINK, f"/out:{name}", f"/pdb:{pdb}", f"/pdbaltpath:{pdb}", f"/entry:{entry}", f"/base:{base:#x}",
              f"/timestamp:{timestamp:#x}", f"/map:{stem}.map", f"/implib:{stem}.lib", *inputs, f"{stem}.res"],
             cwd=folder)


def build_images() -> Path:
    """A folder with the images, their PDBs and link maps, and boot.elf, which has the images in it."""
    sources = sorted(SOURCES.iterdir())
    key = hash_of(*(s.name.encode() + s.read_bytes() for s in sources), Path(__file__).read_bytes())

    def build(folder: Path) -> None:
        folder.mkdir()
        for name in ("kernel", "truth", "debug", "fwcfg", "archive", "tapebus"):
            run_tool([*_WINDOWS, str(SOURCES / f"{name}.c"), "-o", f"{name}.obj"], cwd=folder)
        for name in ("traps", "transfer"):
            run_tool([*_WINDOWS, str(SOURCES / f"{name}.S"), "-o", f"{name}.obj"], cwd=folder)
        kernel = [f"{name}.obj" for name in ("kernel", "truth", "debug", "fwcfg", "traps")]
        _link(folder, "ntoskrnl.exe", "KiSystemStartup", 0x140000000, 0x65A0F1E2, *kernel)
        _link(folder, "tapebus.sys", "TapeBusEntry", 0x180000000, 0x5F3C0A11, "/dll", "tapebus.obj", "transfer.obj",
              "ntoskrnl.lib")
        _link(folder, "archive.sys", "ArchiveEntry", 0x190000000, 0x61D2B00C, "/dll", "archive.obj", "tapebus.lib",
              "ntoskrnl.lib")
        for name in ("boot.c", "boot.S", "start_block.S"):
            run_tool([*_BARE, str(SOURCES / name), "-o", f"{name}.o"], cwd=folder)
        run_tool(["ld.lld-19", "-T", str(SOURCES / "boot.ld"), "-o", "boot.elf", "boot.c.o", "boot.S.o", "start_block.S.o"],
                 cwd=folder)

    return built(cache() / "windows" / key, build)


class WindowsGuest(Machine):
    def __init__(self, workdir: Path, name: str, variant: str, *, mem: str = "64M", append: str = "") -> None:
        options = VARIANTS[variant].split()
        # With Hyper-V's crash registers QEMU tells more of a panic; none but KVM's guests can write them.
        cpu = "max,hv-crash=on" if variant == "kaslr" else "max"
        super().__init__(workdir, name, mem=mem, cpus=1 if "live" in options else 4, cpu=cpu)
        self.variant = variant
        self.images = build_images()
        self.seed = secrets.randbits(62) | 1
        places = [f"seed={self.seed:x}"]
        if "random" in options:
            options.remove("random")
            # The kernel at a multiple of a large page, drivers anywhere above; the page tables' map of
            # themselves in a slot that has nothing else.
            kernel = 0xFFFFF80100000000 + secrets.randbelow(0x3000) * 0x200000
            archive = kernel + 0x10000000 + secrets.randbelow(0x8000) * PAGE
            slot = 0x170 + secrets.randbelow(0x60)
            pte = 0xFF << 56 | slot << 48 if "la57" in options else 0xFFFF << 48 | slot << 39
            places += [f"kernel={kernel:x}", f"archive={archive:x}", f"tapebus={archive + 0x9000000:x}", f"pte={pte:x}"]
        self.arguments = " ".join([*options, *places, append]).strip()
        self.command += ["-device", "pvpanic", "-kernel", str(self.images / "boot.elf"), "-append", self.arguments,
                         "-debugcon", f"file:{self.console_path}", "-global", "isa-debugcon.iobase=0x402"]

    def wait_stopped(self) -> WindowsGuest:
        """Until it has crashed, or, if it does not, is in user mode; paused then."""
        if "live" not in self.arguments.split():
            return self.wait_crashed()
        self._wait("user mode", lambda: "\nempty " in self.console())
        self._wait("user mode", lambda: "CPL=3" in self.qmp("human-monitor-command", command_line="info registers"))
        self.pause()
        self.release_qmp()
        return self


# ---- what is true ----


@dataclass(frozen=True)
class Symbol:
    image: str
    name: str
    offset: int


@dataclass
class Truth:
    """What the guest said while it ran, its images, and the registers that QEMU shows."""

    console: str
    registers: str  # of the monitor's "info registers -a"
    images: Path
    modules: dict[str, tuple[int, int]] = field(default_factory=dict)  # base, size
    processes: list[tuple[str, int, int]] = field(default_factory=list)  # name, id, parent's id
    threads: dict[int, tuple[int, int]] = field(default_factory=dict)  # address: process id, id
    bugcheck: list[int] = field(default_factory=list)  # code, parameters
    # Thread: where its calls return to, the first call's first; and whether that is a return address, not a fault's.
    calls: dict[int, list[tuple[int, bool]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = iter(IMAGES)
        for line in self.console.splitlines():
            kind, _, rest = line.partition(" ")
            words = rest.split()
            if kind == "module":
                base, size = (int(w, 16) for w in words)
                self.modules[next(names)] = base, size
            elif kind == "process":
                self.processes.append((words[0], int(words[2], 16), int(words[3], 16)))
            elif kind == "thread":
                self.threads[int(words[0], 16)] = int(words[1], 16), int(words[2], 16)
            elif kind == "bugcheck":
                self.bugcheck = [int(w, 16) for w in words]
            elif kind == "empty":
                self.calls[int(words[0], 16)] = []
            elif kind in ("returns", "fault"):
                self.calls.setdefault(int(words[0], 16), []).append((int(words[1], 16), kind == "returns"))

    @cached_property
    def _functions(self) -> dict[str, list[tuple[int, str]]]:
        """By the linker's maps: of each image, offsets of what is in code sections."""
        out = {}
        for image in IMAGES:
            text = (self.images / f"{image.split('.')[0]}.map").read_text()
            code = {n for n, kind in re.findall(r"^ (\w{4}):\w{8} \w{8}H \S+ +(\w+)$", text, re.MULTILINE) if kind == "CODE"}
            preferred = int(re.search(r"load address is (\w+)", text)[1], 16)  # type: ignore[index]
            found = re.findall(r"^ (\w{4}):\w{8} +(\S+) +(\w{16}) ", text, re.MULTILINE)
            # Labels within functions are named for what returns there.
            out[image] = sorted((int(at, 16) - preferred, name) for section, name, at in found
                                if section in code and not name.endswith("Returns"))
        return out

    def symbol(self, address: int, returns: bool = True) -> Symbol:
        """The function that holds an address; a call may be the last instruction of its function."""
        for image, (base, size) in self.modules.items():
            if not base <= address < base + size:
                continue
            at = address - base
            start, name = max(f for f in self._functions[image] if f[0] <= at - returns)
            return Symbol(image, name, at - start)
        raise LabError(f"{address:#x} is in no image")

    def cpu_registers(self) -> list[dict[str, int]]:
        """Of each CPU, by lower-case names; segment bases as gs_base, selectors as cs."""
        out = []
        for text in self.registers.split("CPU#")[1:]:
            found = {name.lower(): int(value, 16) for name, value in
                     re.findall(r"\b(R[A-Z0-9]{1,2}|RIP|RFL|CR[0-4]) ?=([0-9a-f]{8,16})", text)}
            for name, selector, base in re.findall(r"^([CDEFGS]S) =(\w{4}) (\w{16})", text, re.MULTILINE):
                found[name.lower()], found[f"{name.lower()}_base"] = int(selector, 16), int(base, 16)
            out.append(found)
        return out

    def crashed_thread(self) -> int:
        """The one whose call of KeBugCheckEx returns into KeBugCheckEx' caller last."""
        return next(at for at, calls in self.calls.items() if calls and self.symbol(*calls[-1]).name == "KeBugCheckEx")

    def image_facts(self, image: str) -> dict[str, Any]:
        """Time stamp and PDB of an image, by its file."""
        data = (self.images / image).read_bytes()
        pe = struct.unpack_from("<I", data, 0x3C)[0]
        at = data.find(b"RSDS")
        guid = data[at + 4:at + 20]
        fields = struct.unpack("<IHH", guid[:8])
        age = struct.unpack_from("<I", data, at + 20)[0]
        key = f"{fields[0]:08X}{fields[1]:04X}{fields[2]:04X}{guid[8:].hex().upper()}{age:X}"
        return {"timestamp": struct.unpack_from("<I", data, pe + 8)[0], "pdb": {"file": IMAGES[image][0], "key": key}}
