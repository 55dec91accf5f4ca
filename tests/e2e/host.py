#!/usr/bin/python3
"""A whole KVM host under emulation: two real guests on it, a panic, and what its capture kernel captures.

    host.py FOLDER --kernel NAME    boots it; what is left in FOLDER: vmcore, the capture kernel's own copy of the
                                    machine; dump.hvd, what hvdump-capture made of it there; host.json
    host.py FOLDER --remove

Level 1 is the host, whose guests (level 2) run under real KVM with nested paging, which QEMU emulates for AMD.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import uuid
from dataclasses import asdict
from pathlib import Path
from typing import Any

from emulation import KERNEL_OPTIONS, run_machine, tail
from images import Kernel, LabError, Skip, build_plant, cpio_archive
from lab import Canaries
from product import Failure, program, run

HERE = Path(__file__).resolve().parent / "host"
SAMPLES = Path(__file__).resolve().parents[2] / "samples" / "kdump"
GUESTS = ("alpha", "beta")
PATTERNED = ("gamma", "delta")  # never run; pattern() says what is in their memory
HOST_MODULES = ("rng-core", "irqbypass", "kvm", "ccp", "kvm-amd")
DISK_MODULES = ("virtio_ring", "virtio", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci", "virtio_blk")
FIRMWARE = ("bios-microvm.bin", "bios-256k.bin", "linuxboot_dma.bin", "kvmvapic.bin")
STATELESS: list[Any] = [{"match": name, "stateless": True} for name in PATTERNED]  # of a policy
DIRECTORY, PROGRAM, PLAIN = 0o040755, 0o100755, 0o100644
ATTEMPTS = 3
# Of CPU time without a word. The host speaks every ten seconds while it waits for a guest.
SILENT_SECONDS = 400
Files = dict[str, tuple[int, bytes]]


def initramfs(init: str, kernel: Kernel, modules: tuple[str, ...], more: Files) -> bytes:
    busybox = shutil.which("busybox")
    if busybox is None:
        raise Skip("busybox is missing (Debian package busybox-static)")
    files: Files = {name: (DIRECTORY, b"") for name in ("bin", "dev", "modules", "proc", "sys", "tmp")}
    files["init"] = (PROGRAM, (HERE / init).read_bytes())
    files["bin/busybox"] = (PROGRAM, Path(busybox).read_bytes())
    for name in modules:
        try:
            files[f"modules/{name}.ko"] = (PLAIN, kernel.module(name))
        except LabError:
            pass  # built into this kernel
    for path, entry in more.items():
        for parent in reversed(Path(path).parents[:-1]):
            files.setdefault(str(parent), (DIRECTORY, b""))
        files[path] = entry
    return gzip.compress(cpio_archive(files), 1, mtime=0)


def with_libraries(name: str, path: str | None = None) -> Files:
    """A program and the shared libraries it needs, at the paths they have here; its own may be another."""
    found = path or shutil.which(name, path="/usr/bin:/usr/sbin:/bin:/sbin")
    if found is None:
        raise Skip(f"{name} is missing")
    said = subprocess.run(["ldd", found], capture_output=True, text=True, check=True).stdout
    files = {file.lstrip("/"): (PROGRAM, Path(file).read_bytes()) for file in re.findall(r"(/\S+) \(0x", said)}
    with tempfile.NamedTemporaryFile() as stripped:
        # As a package has it: the capture kernel's memory is for better things than debug information.
        subprocess.run(["strip", "-o", stripped.name, found], check=True)
        files[f"usr/bin/{name}" if path else found.lstrip("/")] = (PROGRAM, Path(stripped.name).read_bytes())
    return files


def firmware() -> Files:
    files: Files = {}
    for name in FIRMWARE:
        found = next((p for p in (Path(folder, name) for folder in ("/usr/share/qemu", "/usr/share/seabios"))
                      if p.exists()), None)
        if found:
            files[f"usr/share/qemu/{name}"] = (PLAIN, found.read_bytes())
    return files


def pattern(seed: str) -> bytes:
    """8 MiB from the first MiB of memory on, every page another."""
    return b"".join(hashlib.sha256(f"{seed}{page}".encode()).digest() * 128 for page in range(2048))


def secret(what: str) -> str:
    return f"hvd-{what}-{secrets.token_hex(16)}"


class Machine:
    """The secrets of one run: of the host, of each guest and of each guest's VMM."""

    def __init__(self, folder: Path, kernel: Kernel, memory: str) -> None:
        self.folder, self.kernel, self.memory = folder, kernel, memory
        self.uuids = {name: str(uuid.uuid4()) for name in (*GUESTS, *PATTERNED)}
        self.seeds = {name: secrets.token_hex(8) for name in PATTERNED}
        self.canaries = {name: Canaries.new() for name in ("host", *GUESTS)}
        self.more = {name: {what: secret(what) for what in ("log", "serial", "vmm")} for name in GUESTS}
        self.recipients = {}
        for name in (*GUESTS, *PATTERNED, "host-user"):
            said = run("hvdump-decrypt", "keygen", "-o", folder / f"{name}.key").stdout.decode()
            self.recipients[name] = said.strip()

    def planting(self, name: str) -> Files:
        return {**self.canaries[name].to_plant(), "t": (DIRECTORY, b""),
                "bin/hvd-env": (PROGRAM, build_plant().read_bytes())}

    def tenant(self, name: str) -> bytes:
        backwards = {what: (PLAIN, self.more[name][what][::-1].encode() + b"\n") for what in ("log", "serial")}
        return initramfs("tenant.init", self.kernel, (), self.planting(name) | backwards)

    def capture(self) -> bytes:
        policy = {"vms": [{"match": name, "recipients": [self.recipients[name]]} for name in GUESTS] + STATELESS}
        files = with_libraries("hvdump-capture", str(program("hvdump-capture").resolve()))
        files["etc/hvdump/policy.json"] = (PLAIN, json.dumps(policy).encode())
        # The hook that is offered to users is what runs.
        files["usr/sbin/hvdump-kdump"] = (PROGRAM, (SAMPLES / "hvdump-kdump").read_bytes())
        return initramfs("vmcore.init", self.kernel, DISK_MODULES, files)

    def host(self) -> bytes:
        files: Files = {"vmlinuz": (PLAIN, self.kernel.vmlinuz.read_bytes()), **firmware(), **self.planting("host"),
                        **with_libraries("qemu-system-x86_64"), **with_libraries("kexec"),
                        "capture.initramfs": (PLAIN, self.capture())}
        kexec = next(path for path in files if path.endswith("/kexec"))
        files["sbin/kexec"] = files[kexec]
        for name in GUESTS:
            files[f"{name}.initramfs"] = (PLAIN, self.tenant(name))
            files[f"{name}.uuid"] = (PLAIN, self.uuids[name].encode())
            files[f"{name}.vmm"] = (PLAIN, self.more[name]["vmm"][::-1].encode() + b"\n")
        for name in PATTERNED:
            files[f"{name}.uuid"] = (PLAIN, self.uuids[name].encode())
            files[f"{name}.pattern"] = (PLAIN, pattern(self.seeds[name]))
        return initramfs("host.init", self.kernel, (*HOST_MODULES, *DISK_MODULES), files)

    def facts(self, said: str) -> dict[str, Any]:
        peak = re.search(r"Maximum resident set size \(kbytes\): (\d+)", said)
        huge = re.search(r"AnonHugePages: +(\d+) kB", said)
        swap = [int(re.search(rf"Swap{what}: +(\d+) kB", said)[1]) for what in ("Total", "Free")]  # type: ignore[index]
        return {"kernel": self.kernel.name, "seeds": self.seeds, "huge_kib": int(huge[1]) if huge else 0,
                "swapped_kib": swap[0] - swap[1], "release": self.kernel.release, "uuids": self.uuids,
                "canaries": {name: asdict(canary) for name, canary in self.canaries.items()}, "more": self.more,
                "peak_kib": int(peak[1]) if peak else None}


def hopeless(said: str) -> str:
    """Why nothing will come of a host, by what it says; empty as long as something may."""
    failed = re.search(r"LAB FAILED .*(?=\n)", said)
    if failed:
        return failed[0]
    # A guest under two emulations now and then stops for good, and its host's CPUs with it.
    return "the host's CPUs hang" if said.count("soft lockup") >= 3 else ""


def boot(machine: Machine) -> None:
    """Leaves vmcore, dump.hvd and host.json in the folder.

    Raises LabError when there is no vmcore with all guests in it: up to then nothing of hvdump takes part.
    """
    folder = machine.folder
    archive, console, disk, dump, swap = (folder / name for name in ("initramfs", "console", "vmcore", "dump.hvd", "swap"))
    archive.write_bytes(machine.host())
    for path in (disk, dump):
        with path.open("wb") as out:
            out.truncate(12 << 30)
    with swap.open("wb") as out:
        out.truncate(64 << 20)
    said = run_machine(["qemu-system-x86_64", "-name", "host", "-accel", "tcg,thread=multi", "-cpu", "EPYC,+svm", "-smp",
                        "2", "-m", machine.memory, "-display", "none", "-serial", f"file:{console}", "-no-reboot",
                        "-nodefaults", "-kernel", machine.kernel.vmlinuz, "-initrd", archive, "-append",
                        f"console=ttyS0 quiet {KERNEL_OPTIONS} panic=-1 crashkernel=256M",
                        *(word for path in (disk, dump, swap) for word in ("-drive", f"file={path},format=raw,if=virtio"))],
                       console, seconds=SILENT_SECONDS, grows=(disk, dump), hopeless=hopeless)
    archive.unlink()
    swap.unlink()
    size = re.search(r"VMCORE SIZE (\d+)", said)
    if not size or "VMCORE COPIED" not in said:
        raise LabError(f"the host left no vmcore; {tail(said)}")
    written = re.search(r"/dev/vdb: (\d+) bytes", said)
    if not written or "CAPTURE ENDED 0" not in said:
        raise Failure(f"the capture in the capture kernel failed; {tail(said)}")
    for path, end in ((disk, int(size[1])), (dump, int(written[1]))):
        with path.open("r+b") as out:
            out.truncate(end)
    (folder / "host.json").write_text(json.dumps(machine.facts(said)))


def make(folder: Path, kernel: Kernel, memory: str) -> None:
    """Tries until a host comes up: nested paging under emulation does not every time."""
    for attempt in range(ATTEMPTS):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            return boot(Machine(folder, kernel, memory))
        except LabError as error:
            if attempt == ATTEMPTS - 1:
                raise
            print(f"attempt {attempt + 1}: {error}", flush=True)


def facts_of(folder: Path) -> dict[str, Any]:
    """What is known of the host that was made in the folder."""
    if (folder / "skipped").exists():
        raise Skip(f"the host was not made: {(folder / 'skipped').read_text()}")
    if not (folder / "host.json").exists():
        raise Failure(f"{folder} has no host.json: host.py has to make the host first")
    facts: dict[str, Any] = json.loads((folder / "host.json").read_text())
    return facts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kernel", default="6.1")
    parser.add_argument("--memory", default="1536M")
    parser.add_argument("--remove", action="store_true")
    options = parser.parse_args()
    shutil.rmtree(options.folder, ignore_errors=True)
    if options.remove:
        return 0
    try:
        make(options.folder, Kernel.find(options.kernel), options.memory)
    except Skip as reason:
        options.folder.mkdir(parents=True, exist_ok=True)
        (options.folder / "skipped").write_text(str(reason))
        print(f"SKIPPED: {reason}")
        return 77
    except (Failure, LabError) as error:
        print(f"FAILED: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
