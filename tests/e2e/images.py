"""What a guest boots from: kernels out of the cache, the crash module, the initramfs.

Everything built here lands in the cache under a name made of a hash of its inputs, so nothing is
built twice and nothing is ever stale; the source tree stays clean.
"""

from __future__ import annotations

import gzip
import hashlib
import lzma
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

GUEST_SOURCES = Path(__file__).resolve().parent / "guest"
KERNEL_NAMES = ("6.1", "6.1-cloud", "6.12", "6.12-cloud")
# In the order of loading; the crash module is not the kernel's and comes on top.
GUEST_MODULES = ("pvpanic", "pvpanic-pci", "qemu_fw_cfg")


class LabError(RuntimeError):
    """The lab could not do what a test asked for: a failure; the message has what the lab said."""


class Skip(Exception):
    """What a test takes is not to be had here, or was not asked for; the message says what to do about it."""


def cache() -> Path:
    chosen = os.environ.get("HVDUMP_CACHE")
    return Path(chosen) if chosen else Path.home() / ".cache" / "hvdump"


@dataclass(frozen=True)
class Kernel:
    """A kernel that scripts/fetch-kernels put into the cache."""

    name: str
    path: Path

    @staticmethod
    def find(name: str) -> Kernel:
        kernel = Kernel(name, cache() / "kernels" / name)
        if not (kernel.path / "release").exists():
            raise Skip(f"kernel {name} is not in the cache: run scripts/fetch-kernels")
        return kernel

    @staticmethod
    def all() -> list[Kernel]:
        """Those in the cache, oldest first."""
        return [Kernel.find(n) for n in KERNEL_NAMES if (cache() / "kernels" / n).exists()]

    @property
    def release(self) -> str:
        return (self.path / "release").read_text().strip()

    @property
    def vmlinuz(self) -> Path:
        return self.path / "vmlinuz"

    @property
    def has_debug_info(self) -> bool:
        return (self.path / "vmlinux").exists()

    @property
    def vmlinux(self) -> Path:
        if not self.has_debug_info:
            raise Skip(f"kernel {self.name} has no vmlinux: run scripts/fetch-kernels --dbg")
        return self.path / "vmlinux"

    @property
    def debug_modules(self) -> Path:
        return self.path / "debug-modules"

    @property
    def build(self) -> Path:
        """For `make -C`."""
        return self.path / "headers" / "build"

    def module(self, name: str) -> bytes:
        """A module of the distribution, decompressed: busybox cannot load a compressed one."""
        for found in (self.path / "modules").rglob(f"{name}.ko*"):
            data = found.read_bytes()
            return lzma.decompress(data) if found.suffix == ".xz" else data
        raise LabError(f"kernel {self.name} has no module {name}")


def hash_of(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()[:16]


def built(path: Path, build: Callable[[Path], None]) -> Path:
    """`path`, built under another name first if need be: a killed build leaves no half file."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
            product = Path(scratch) / path.name
            build(product)
            product.rename(path)
    return path


def run_tool(command: Sequence[str | Path], **options: str | Path) -> None:
    """Runs a compiler or the like; LabError with what it said if it fails, Skip if there is none."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              **options)  # type: ignore[call-overload]
    except FileNotFoundError:
        raise Skip(f"{command[0]} is not installed (scripts/install-dependencies --tests)") from None
    if done.returncode != 0:
        raise LabError(f"{' '.join(map(str, command))}:\n{done.stdout}")


def build_module(kernel: Kernel) -> Path:
    """crashme.ko for this kernel, with its DWARF."""
    sources = [GUEST_SOURCES / "crashme.c", GUEST_SOURCES / "Makefile"]
    key = hash_of(kernel.release.encode(), *(s.read_bytes() for s in sources))

    def build(product: Path) -> None:
        for source in sources:
            shutil.copy(source, product.parent)
        run_tool(["make", "-C", product.parent, f"KERNEL_BUILD={kernel.build}"])

    return built(cache() / "crashme" / f"{kernel.release}-{key}" / "crashme.ko", build)


def build_plant() -> Path:
    """The program that plants the canaries, static."""
    source = GUEST_SOURCES / "plant.c"

    def build(product: Path) -> None:
        run_tool(["gcc", "-std=c11", "-Wall", "-O1", "-static", source, "-o", product])

    return built(cache() / "plant" / hash_of(source.read_bytes()) / "plant", build)


def cpio_archive(files: dict[str, tuple[int, bytes]]) -> bytes:
    """A cpio archive of the kernel's kind ("newc") of path: (mode with type bits, content)."""
    out = bytearray()
    for number, (name, (mode, data)) in enumerate([*files.items(), ("TRAILER!!!", (0, b""))], 1):
        encoded = name.encode() + b"\0"
        #         ino     mode  uid gid links mtime size  dev  dev rdev rdev name size  check
        fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(encoded), 0)
        out += b"070701" + b"".join(b"%08X" % field for field in fields) + encoded
        out += bytes(-len(out) % 4) + data
        out += bytes(-len(out) % 4)
    return bytes(out)


def build_initramfs(kernel: Kernel) -> Path:
    """The part of a guest's initramfs that is the same in every run; gzip, for a quick boot."""
    busybox = shutil.which("busybox")
    if busybox is None:
        raise Skip("busybox is missing (Debian package busybox-static)")
    directory, program, plain = 0o040755, 0o100755, 0o100644
    files = {name: (directory, b"") for name in ("bin", "dev", "modules", "proc", "sys")}
    files["init"] = (program, (GUEST_SOURCES / "init").read_bytes())
    files["bin/busybox"] = (program, Path(busybox).read_bytes())
    files["bin/hvd-env"] = (program, build_plant().read_bytes())
    for module in GUEST_MODULES:
        files[f"modules/{module}.ko"] = (plain, kernel.module(module))
    files["modules/crashme.ko"] = (plain, build_module(kernel).read_bytes())
    archive = cpio_archive(files)
    path = cache() / "initramfs" / f"{kernel.release}-{hash_of(archive)}.cpio.gz"
    return built(path, lambda product: _write(product, gzip.compress(archive, 1, mtime=0)))


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)
