#!/usr/bin/python3
"""intel_host.py FOLDER [--keep]: a KVM host on Intel with one guest panics; what hvdump makes of its memory.

QEMU emulates no VMX; Bochs does, at a pace that makes this ten minutes to half an hour, so it is no part of
scripts/test. Its VMCS has a layout of its own, as every CPU's has: nothing may depend on it.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import uuid
from dataclasses import asdict
from pathlib import Path
from typing import Any

from comparison import Comparison
from emulation import run_machine, tail
from host import DIRECTORY, PLAIN, PROGRAM, firmware, hopeless, initramfs, secret, with_libraries
from images import Kernel, LabError, Skip, build_plant, run_tool
from lab import Canaries
from machine_pieces import contained, recipients_of, secrets_of
from product import Failure, run, run_json
from vmcore import ElfDump

PACKAGES = "bochs bochsbios vgabios grub-pc-bin grub-common xorriso mtools"
DISK_MODULES = ("scsi_common", "scsi_mod", "libata", "ata_piix", "crc64", "crc64_rocksoft_generic", "crc64-rocksoft",
                "crct10dif_common", "crct10dif_generic", "crc-t10dif", "t10-pi", "sd_mod")
SILENT_SECONDS = 1200  # of CPU time without a word
GRUB = """serial --unit=0 --speed=115200
terminal_output serial
set timeout=0
linux /boot/vmlinuz console=ttyS0 quiet panic=-1 crashkernel=192M mitigations=off
initrd /boot/initrd
boot
"""
BOCHS = """config_interface: textconfig
display_library: rfb, options="timeout=0"
plugin_ctrl: e1000=0
romimage: file=/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=/usr/share/bochs/VGABIOS-lgpl-latest
cpu: model=corei7_haswell_4770, count=1, ips=100000000, reset_on_triple_fault=1
memory: guest=768, host=768
ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14
ata0-master: type=disk, path="{folder}/boot.iso", mode=volatile
ata0-slave: type=disk, path="{folder}/vmcore", mode=flat
boot: disk
clock: sync=none, time0=local, rtc_sync=1
com1: enabled=1, mode=file, dev={folder}/console
log: {folder}/bochs.log
panic: action=report
error: action=report
info: action=ignore
debug: action=ignore
"""
# What a guest in user mode, spinning, has in its registers is the same a second later.
STEADY = {"RAX": "rax", "RBX": "rbx", "RCX": "rcx", "RDX": "rdx", "RSI": "rsi", "RDI": "rdi", "RBP": "rbp", "R8 ": "r8",
          "R9 ": "r9", "R10": "r10", "R11": "r11", "R12": "r12", "R13": "r13", "R14": "r14", "R15": "r15"}
UNKNOWN = {"rip", "rsp", "rflags", "cr0", "cr3", "cr4", "cs", "ss", "gs_base", "fs_base"}


def make(folder: Path, kernel: Kernel) -> dict[str, Any]:
    """The machine's boot disk, and what is planted."""
    canaries = {name: Canaries.new() for name in ("host", "alpha")}
    more = {what: secret(what) for what in ("log", "serial", "vmm")}
    identity = str(uuid.uuid4())

    def planting(name: str) -> dict[str, tuple[int, bytes]]:
        return {**canaries[name].to_plant(), "t": (DIRECTORY, b""), "bin/hvd-env": (PROGRAM, build_plant().read_bytes())}
    backwards = {what: (PLAIN, more[what][::-1].encode() + b"\n") for what in ("log", "serial")}
    kexec = with_libraries("kexec")
    files = {"vmlinuz": (PLAIN, kernel.vmlinuz.read_bytes()), **firmware(), **planting("host"),
             **with_libraries("qemu-system-x86_64"), **kexec,
             "sbin/kexec": kexec[next(path for path in kexec if path.endswith("/kexec"))],
             "capture.initramfs": (PLAIN, initramfs("intel-vmcore.init", kernel, DISK_MODULES, {})),
             "alpha.initramfs": (PLAIN, initramfs("tenant.init", kernel, (), planting("alpha") | backwards)),
             "alpha.uuid": (PLAIN, identity.encode()), "alpha.vmm": (PLAIN, more["vmm"][::-1].encode() + b"\n")}
    boot = folder / "iso" / "boot"
    (boot / "grub").mkdir(parents=True)
    shutil.copy(kernel.vmlinuz, boot / "vmlinuz")
    (boot / "initrd").write_bytes(initramfs("intel.init", kernel, ("irqbypass", "kvm", "kvm-intel"), files))
    (boot / "grub" / "grub.cfg").write_text(GRUB)
    run_tool(["grub-mkrescue", "-d", "/usr/lib/grub/i386-pc", "-o", folder / "boot.iso", boot.parent,
              "--install-modules=biosdisk iso9660 part_msdos normal linux serial terminal echo", "--locales=",
              "--fonts=", "--themes="])
    shutil.rmtree(boot.parent)
    return {"uuid": identity, "canaries": {name: asdict(each) for name, each in canaries.items()},
            "more": {"alpha": more}}


def boot(folder: Path) -> str:
    """What the machine says; leaves vmcore."""
    vmcore, console = folder / "vmcore", folder / "console"
    with vmcore.open("wb") as out:
        out.truncate(2 << 30)
    (folder / "bochsrc").write_text(BOCHS.format(folder=folder))
    (folder / "start").write_text("c\n")  # Debian's is built with its debugger, which wants to be told
    said = run_machine(["bochs-bin", "-q", "-f", folder / "bochsrc", "-rc", folder / "start"], console,
                       seconds=SILENT_SECONDS, grows=(vmcore,), is_done=lambda said: "Power down" in said,
                       hopeless=hopeless, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
    size = re.search(r"VMCORE SIZE (\d+)", said)
    if not size or any(word not in said for word in ("EPT Y", "TENANT UP alpha", "RAX=", "R15=")):
        raise LabError(f"the host left no vmcore with its guest in it; {tail(said)}")
    with vmcore.open("r+b") as out:
        out.truncate(int(size[1]))
    return said


def check(folder: Path, facts: dict[str, Any], said: str, compared: Comparison) -> None:
    vmcore, dump, key = folder / "vmcore", folder / "dump.hvd", folder / "alpha.key"
    release = Kernel.find("6.1").release
    if not key.exists():  # of a folder that was kept
        run("hvdump-decrypt", "keygen", "-o", key)
    recipient = recipients_of({"alpha": key})["alpha"]
    canaries = secrets_of(facts)
    image, core, raw, vmm = (folder / name for name in ("host.elf", "alpha.elf", "alpha.raw", "vmm.elf"))
    for level in ("secure", "full"):
        policy = folder / "policy.json"
        policy.write_text(json.dumps({"vms": [{"match": "alpha", "recipients": [recipient]}], "hypervisor": {
            "level": level, "recipients": [recipient] if level == "full" else []}}))
        run("hvdump-capture", "machine", vmcore, "--policy", policy, "-o", dump)
        run("hvdump-extract", "hypervisor", dump, "-o", image, "--identity", key)
        compared.equal((contained(dump, canaries), contained(image, canaries)), (set(), set()),
                       f"level {level}: canaries in the dump and in the host's image")
    listed = {p["name"]: (p["state"], p["sealed"]) for p in run_json("hvdump-extract", "list", dump, "--json")["partitions"]}
    compared.equal(listed, {"hypervisor": ("captured", True), "alpha": ("captured", True)}, "partitions")
    ledger = run_json("hvdump-extract", "ledger", dump, "--identity", key, "--json")["kinds"]
    compared.that(next(k["pages"] for k in ledger if k["kind"] == "guest-state") >= 6, "the guest's state is left out")
    for path, options in ((core, []), (raw, ["--format", "raw"]), (vmm, ["--vmm"])):
        run("hvdump-extract", "partition", dump, "alpha", "-o", path, "--identity", key, *options)
    mine = {kind for path in (core, raw, vmm) for owner, kind, text in canaries if owner == "alpha"
            and text in contained(path, canaries)}
    compared.equal(mine, {kind for owner, kind, _ in canaries if owner == "alpha"}, "alpha's canaries in what alpha gets")
    kinds = sorted({kind for name, kind, _ in ElfDump(vmm).notes() if name == "HVDUMP-KVM"})
    compared.that({1, 2, 3, 6} <= set(kinds), f"notes of KVM's state, a VMCS among them: {kinds}")

    host, guest = run_json("hvdump-analyze", "triage", vmcore)["partitions"]
    compared.equal((host["crash"]["kind"], [(vm["name"], vm["uuid"]) for vm in host["vms"]]),
                   ("panic", [("alpha", facts["uuid"])]), "crash and VM")
    registers = host["vms"][0]["cpus"][0]["registers"]
    seen = {ours: re.findall(rf"{theirs}=([0-9a-f]+)", said) for theirs, ours in STEADY.items()}
    true = {name: int(values[-1], 16) for name, values in seen.items() if values}
    compared.that(len(true) > 10, f"QEMU told {len(true)} registers")
    compared.equal({name: int(registers.get(name, "0"), 16) for name in true}, true, "registers, and those that QEMU saw")
    compared.equal(UNKNOWN & set(registers), set(), "registers that KVM has not read out of the VMCS")
    for report in (guest, run_json("hvdump-analyze", "triage", core)["partitions"][0]):
        cpu = report["cpus"][0]
        compared.equal((report["os"]["release"], cpu["task"]["comm"], cpu["stack"], "rip" in cpu["registers"]),
                       (release, "hvd-registers", [], False), "the guest: release, task, no invented stack")
        compared.that(any(f["rule"] == "registers-unknown" for f in report["findings"]), "it is said why")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--keep", action="store_true", help="leave the folder; if it holds a dead host, check that")
    options = parser.parse_args()
    folder: Path = options.folder.absolute()
    compared = Comparison()
    try:
        if not (options.keep and (folder / "facts.json").exists()):
            if not shutil.which("bochs-bin") or not shutil.which("grub-mkrescue"):
                raise Skip(f"needs {PACKAGES} (scripts/install-dependencies --intel)")
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            facts = make(folder, Kernel.find("6.1"))
            facts["said"] = boot(folder)
            (folder / "facts.json").write_text(json.dumps(facts))
        facts = json.loads((folder / "facts.json").read_text())
        check(folder, facts, facts["said"], compared)
    except Skip as reason:
        print(f"SKIPPED: {reason}")
        return 77
    except (Failure, LabError) as error:
        print(f"FAILED: {error}")
        return 1
    finally:
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)
    return compared.verdict()


if __name__ == "__main__":
    sys.exit(main())
