#!/usr/bin/python3
"""A whole KVM host under emulation: two real guests on it, a panic, and the vmcore of its capture kernel.

    host.py FOLDER --kernel NAME    boots it; FOLDER/vmcore and FOLDER/host.json are what is left
    host.py FOLDER --remove

Level 1 is the host, whose guests (level 2) run under real KVM with nested paging, which QEMU emulates for AMD.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import shutil
import subprocess
import sys
import uuid
from pathlib import Path

from images import Kernel, LabError, cpio_archive
from product import Skip

HERE = Path(__file__).resolve().parent / "host"
GUESTS = ("alpha", "beta")
HOST_MODULES = ("rng-core", "irqbypass", "kvm", "ccp", "kvm-amd")
DISK_MODULES = ("virtio_ring", "virtio", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci", "virtio_blk")
FIRMWARE = ("bios-microvm.bin", "bios-256k.bin", "linuxboot_dma.bin", "kvmvapic.bin")
_DIRECTORY, _PROGRAM, _PLAIN = 0o040755, 0o100755, 0o100644
Files = dict[str, tuple[int, bytes]]


def initramfs(init: str, kernel: Kernel, modules: tuple[str, ...], more: Files) -> bytes:
    busybox = shutil.which("busybox")
    if busybox is None:
        raise Skip("busybox is missing (Debian package busybox-static)")
    files: Files = {name: (_DIRECTORY, b"") for name in ("bin", "dev", "modules", "proc", "sys", "tmp")}
    files["init"] = (_PROGRAM, (HERE / init).read_bytes())
    files["bin/busybox"] = (_PROGRAM, Path(busybox).read_bytes())
    for name in modules:
        try:
            files[f"modules/{name}.ko"] = (_PLAIN, kernel.module(name))
        except LabError:
            pass  # built into this kernel
    for path, entry in more.items():
        for parent in reversed(Path(path).parents[:-1]):
            files.setdefault(str(parent), (_DIRECTORY, b""))
        files[path] = entry
    return gzip.compress(cpio_archive(files), 1, mtime=0)


def with_libraries(program: str) -> Files:
    """A program and the shared libraries it needs, at the paths they have here."""
    path = shutil.which(program, path="/usr/bin:/usr/sbin:/bin:/sbin")
    if path is None:
        raise Skip(f"{program} is missing")
    said = subprocess.run(["ldd", path], capture_output=True, text=True, check=True).stdout
    needed = [path, *re.findall(r"(/\S+) \(0x", said)]
    return {file.lstrip("/"): (_PROGRAM, Path(file).read_bytes()) for file in needed}


def firmware() -> Files:
    files: Files = {}
    for name in FIRMWARE:
        found = next((p for p in (Path(folder, name) for folder in ("/usr/share/qemu", "/usr/share/seabios"))
                      if p.exists()), None)
        if found:
            files[f"usr/share/qemu/{name}"] = (_PLAIN, found.read_bytes())
    return files


def boot(folder: Path, kernel: Kernel, timeout: float = 420) -> None:
    """Leaves a vmcore and host.json in the folder, or raises Skip: nothing of hvdump takes part in this."""
    image = (_PLAIN, kernel.vmlinuz.read_bytes())
    uuids = {name: str(uuid.uuid4()) for name in GUESTS}
    files: Files = {"vmlinuz": image, **firmware(), **with_libraries("qemu-system-x86_64"), **with_libraries("kexec"),
                    "tenant.initramfs": (_PLAIN, initramfs("tenant.init", kernel, (), {})),
                    "capture.initramfs": (_PLAIN, initramfs("vmcore.init", kernel, DISK_MODULES, {}))}
    kexec = next(path for path in files if path.endswith("/kexec"))
    files["sbin/kexec"] = files[kexec]
    files |= {f"{name}.uuid": (_PLAIN, value.encode()) for name, value in uuids.items()}
    archive, console, disk = folder / "initramfs", folder / "console", folder / "vmcore"
    archive.write_bytes(initramfs("host.init", kernel, HOST_MODULES, files))
    with disk.open("wb") as out:
        out.truncate(4 << 30)
    command = ["qemu-system-x86_64", "-name", "host", "-accel", "tcg,thread=multi", "-cpu", "EPYC,+svm", "-smp", "2",
               "-m", "1536M", "-display", "none", "-serial", f"file:{console}", "-no-reboot", "-nodefaults",
               "-kernel", kernel.vmlinuz, "-initrd", archive, "-append",
               "console=ttyS0 quiet panic=-1 crashkernel=256M",
               "-drive", f"file={disk},format=raw,if=virtio"]
    try:
        subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True, timeout=timeout)
    except (subprocess.TimeoutExpired, subprocess.CalledProcessError) as error:
        text = console.read_text(errors="replace") if console.exists() else ""
        raise Skip(f"{type(error).__name__}, the machine's console:\n{text[-3000:]}") from None
    finally:
        archive.unlink()
    said = console.read_text(errors="replace")
    size = re.search(r"VMCORE SIZE (\d+)", said)
    if not size or "VMCORE COPIED" not in said or any(f"TENANT UP {name}" not in said for name in GUESTS):
        raise Skip(f"the emulated machine left no vmcore with both guests in it:\n{said[-3000:]}")
    with disk.open("r+b") as out:
        out.truncate(int(size[1]))
    (folder / "host.json").write_text(json.dumps({"kernel": kernel.name, "release": kernel.release, "uuids": uuids}))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kernel", default="6.1")
    parser.add_argument("--remove", action="store_true")
    options = parser.parse_args()
    shutil.rmtree(options.folder, ignore_errors=True)
    if options.remove:
        return 0
    # Nested paging under emulation does not come up everywhere and every time.
    for attempt in range(2):
        shutil.rmtree(options.folder, ignore_errors=True)
        options.folder.mkdir(parents=True)
        try:
            boot(options.folder, Kernel.find(options.kernel))
            return 0
        except (Skip, LabError) as reason:
            print(f"attempt {attempt + 1}: {reason}", flush=True)
    print("SKIPPED: no dead KVM host to look at")
    return 77


if __name__ == "__main__":
    sys.exit(main())
