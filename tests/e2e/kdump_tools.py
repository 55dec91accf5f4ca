#!/usr/bin/python3
"""kdump_tools.py FOLDER: a booted Debian with kdump-tools and our hook panics; what its capture kernel leaves.

The system is installed as samples/kdump/README.md says, out of scripts/fetch-system's packages. Takes root, since
packages' own programs make the initramfs in a chroot.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from comparison import Comparison
from emulation import KERNEL_OPTIONS, run_machine
from images import Kernel, LabError, Skip, cache, run_tool
from product import Failure, program, run, run_json

SAMPLES = Path(__file__).resolve().parents[2] / "samples" / "kdump"
# Debian's kernel for virtual machines, whose few modules make small initramfs.
KERNEL = "6.1-cloud"
SILENT_SECONDS = 400  # of CPU time without a word; quiet, the machine takes three minutes in all
PANIC = """
[Unit]
After=kdump-tools.service
ConditionPathExists=!/proc/vmcore
[Service]
Type=oneshot
StandardOutput=journal+console
ExecStart=/bin/sh -c 'udevadm settle -t 60; echo "LOADED $(cat /sys/kernel/kexec_crash_loaded)"; sync; echo c > /proc/sysrq-trigger'
[Install]
WantedBy=multi-user.target
"""
UNWANTED = ("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "fstrim.timer",
            "e2scrub_reap.service", "getty@tty1.service", "serial-getty@ttyS0.service")


def install(root: Path, kernel: Kernel, recipient: str, output: str) -> None:
    """What a user does, but for the kernel, which comes from the cache, and for what saves time."""
    def put(path: str, text: str) -> None:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    # hvdump, as the samples' README has it.
    run_tool(["strip", "-o", root / "usr/bin/hvdump-capture", program("hvdump-capture").resolve()])
    run_tool(["install", "-m", "755", SAMPLES / "hvdump-kdump", root / "usr/sbin/hvdump-kdump"])
    for unit, file in (("kdump-tools-dump.service", "hvdump.conf"), ("kdump-tools.service", "no-clear-dump.conf")):
        run_tool(["install", "-D", "-m", "644", SAMPLES / "kdump-tools" / file,
                  root / f"etc/systemd/system/{unit}.d/hvdump.conf"])
    put("etc/hvdump/policy.json", json.dumps({"vms": [{"match": "*", "recipients": [recipient]}]}))
    put("etc/hvdump/kdump.conf", f"HVDUMP_OUTPUT={output}\n")
    # The kernel. `list` instead of asking /proc and /sys, which are not the system's own here.
    release = kernel.release
    shutil.copy(kernel.vmlinuz, root / f"boot/vmlinuz-{release}")
    shutil.copy(kernel.path / "config", root / f"boot/config-{release}")
    shutil.copytree(kernel.path / "modules", root / "lib/modules" / release, symlinks=True)
    put("etc/initramfs-tools/conf.d/test", "MODULES=list\n")
    put("etc/initramfs-tools/modules", "virtio_pci\nvirtio_blk\next4\ncrc32c_generic\n")
    run_tool(["chroot", root, "depmod", release])
    run_tool(["chroot", root, "mkinitramfs", "-o", f"/boot/initrd.img-{release}", release])
    run_tool(["chroot", root, "/etc/kernel/postinst.d/kdump-tools", release])
    # Or kdump-config would make that initramfs again in the guest, where it takes minutes.
    shutil.copy(root / "etc/kdump/sysctl.conf", root / f"var/lib/kdump/latest_sysctls-{release}")
    # A machine of its own, that panics.
    put("etc/fstab", "/dev/vda / ext4 defaults 0 1\n")
    put("etc/hostname", "debian\n")
    put("etc/systemd/system/test-panic.service", PANIC)
    for unit in UNWANTED:
        (root / "etc/systemd/system" / unit).symlink_to("/dev/null")
    run_tool(["chroot", root, "systemctl", "-q", "enable", "test-panic.service"])


def make(folder: Path, output: str) -> tuple[Path, Path]:
    """The machine's disk and initramfs."""
    archive = cache() / "system" / "system.tar"
    if os.geteuid() != 0:
        raise Skip("takes root")
    if not archive.exists():
        raise Skip("there is no Debian to boot: run scripts/fetch-system")
    kernel, root, disk = Kernel.find(KERNEL), folder / "root", folder / "disk"
    root.mkdir()
    run_tool(["tar", "-C", root, "-xf", archive])
    recipient = run("hvdump-decrypt", "keygen", "-o", folder / "key").stdout.decode().strip()
    install(root, kernel, recipient, output)
    initrd = folder / "initrd"
    shutil.copy(root / f"boot/initrd.img-{kernel.release}", initrd)
    with disk.open("wb") as out:
        out.truncate(900 << 20)
    run_tool(["mke2fs", "-q", "-F", "-t", "ext4", "-E", "lazy_itable_init=1,lazy_journal_init=1", "-d", root, disk])
    shutil.rmtree(root)
    return disk, initrd


def boot(folder: Path, disk: Path, initrd: Path) -> str:
    """What the machine says from power on to its reboot."""
    console, dump = folder / "console", folder / "dump"
    with dump.open("wb") as out:
        out.truncate(2 << 30)
    command = ["qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "qemu64", "-smp", "2", "-m", "1024M",
               "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", f"file:{console}",
               "-kernel", Kernel.find(KERNEL).vmlinuz, "-initrd", initrd, "-append",
               f"root=/dev/vda ro console=ttyS0 {KERNEL_OPTIONS} crashkernel=128M "
               "systemd.journald.forward_to_console=1 systemd.log_color=0",
               "-drive", f"file={disk},if=virtio,format=raw,cache=unsafe",
               "-drive", f"file={dump},if=virtio,format=raw,cache=unsafe"]
    return run_machine(command, console, seconds=SILENT_SECONDS, grows=(dump,))


def check(folder: Path, compared: Comparison) -> None:
    disk, initrd = make(folder, "/dev/vdb")
    begun = time.monotonic()
    said = boot(folder, disk, initrd)
    compared.that("LOADED 1" in said, "kdump-tools has loaded the capture kernel", said[-2000:])
    compared.note(f"panic, dump and reboot: {time.monotonic() - begun:.0f} s")
    compared.equal(len(re.findall(r"\] Linux version ", said)), 2, "kernels that were booted")
    compared.equal(said.count("running makedumpfile"), 0, "dumps in the clear")
    compared.that("hvdump-kdump: /dev/vdb is complete" in said, "the hook says that it is done", said[-2000:])
    size = re.search(r"/dev/vdb: (\d+) bytes", said)
    if not compared.that(size, "how long the dump is"):
        return
    whole, image = folder / "dump", folder / "image.elf"
    check_device(whole, compared)
    with whole.open("r+b") as out:
        out.truncate(int(size[1]))  # type: ignore[index]
    compared.equal(run("hvdump-extract", "verify", whole).returncode, 0, "verify")
    listed = run_json("hvdump-extract", "list", whole, "--json")["partitions"]
    compared.equal([(p["name"], p["state"]) for p in listed], [("hypervisor", "captured")], "partitions")
    run("hvdump-extract", "hypervisor", whole, "-o", image)
    report = run_json("hvdump-analyze", "triage", image)["partitions"][0]
    compared.equal((report["os"]["release"], report["crash"]["kind"]), (Kernel.find(KERNEL).release, "panic"),
                   "release and crash in the host's image")
    names = {task["comm"] for task in report["tasks"]}
    compared.that({"systemd", "systemd-journal", "systemd-udevd"} <= names, f"tasks of a booted system: {sorted(names)}")


def check_device(dump: Path, compared: Comparison) -> None:
    """The dump is read from the disk itself, which goes on behind it."""
    done = subprocess.run(["losetup", "--find", "--show", "--read-only", dump], capture_output=True, text=True)
    if done.returncode != 0:
        compared.note(f"not read from a block device: {done.stderr.strip()}")
        return
    device = done.stdout.strip()
    try:
        compared.equal(run("hvdump-extract", "verify", device).returncode, 0, "verify on the disk")
    finally:
        subprocess.run(["losetup", "--detach", device], check=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    compared = Comparison()
    try:
        check(folder, compared)
    except Skip as reason:
        print(f"SKIPPED: {reason}")
        return 77
    except (Failure, LabError) as error:
        print(f"FAILED: {error}")
        return 1
    finally:
        shutil.rmtree(folder)
    return compared.verdict()


if __name__ == "__main__":
    sys.exit(main())
