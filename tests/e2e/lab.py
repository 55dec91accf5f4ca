"""Real guests under software emulation, for the end-to-end tests.

    with Guest(workdir, "g", Kernel.find("6.12"), "null") as guest:
        guest.wait_crashed()
        qemu_dump(guest, workdir / "referee.elf")
        trace = printed_call_trace(guest.console())

A guest that has panicked stays paused, in QEMU's state "guest-panicked", until the block ends.
"""

from __future__ import annotations

import secrets
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from call_trace import TraceEntry, printed_call_trace
from emulation import KERNEL_OPTIONS, Patience, console_text, die_with_parent, tail
from images import Kernel, LabError, build_initramfs, build_module, cpio_archive
from qmp import Qmp, QmpError

__all__ = ["Canaries", "Guest", "Kernel", "LabError", "Machine", "Qmp", "QmpError", "SCENARIOS", "TraceEntry",
           "build_initramfs", "build_module", "printed_call_trace", "qemu_dump"]

# All but "idle" end in a panic; see guest/init and guest/crashme.c.
SCENARIOS = ("idle", "sysrq", "null", "bug", "irq", "oom", "softlockup")
# Of CPU time without a word; a guest takes a tenth of it and less.
SILENT_SECONDS = 300


@dataclass(frozen=True)
class Canaries:
    """Secrets of one guest, new in every run; guest/plant.c says where each of them ends up."""

    env: str
    file: str
    register: int
    kernel: str

    @staticmethod
    def new() -> Canaries:
        # The top byte differs from 0 and 0xff, as no address in the guest is like that.
        return Canaries(f"hvd-env-{secrets.token_hex(16)}", f"hvd-file-{secrets.token_hex(16)}",
                        0x5A << 56 | secrets.randbits(56), f"hvd-kernel-{secrets.token_hex(16)}")

    def to_plant(self) -> dict[str, tuple[int, bytes]]:
        """The file that guest/plant.c reads, for an initramfs."""
        text = f"{self.env}\n{self.file}\n{self.register:016x}\n{self.kernel}\n".encode()
        # Inverted, or copies of the initramfs would hold them in clear as well.
        return {"canaries": (0o100600, bytes(~byte & 0xFF for byte in text))}

    def archive(self) -> bytes:
        return cpio_archive(self.to_plant())


class Machine:
    """One QEMU process, running from `with` until the end of the block.

    Files in `workdir`, each beginning with the machine's name: .console .qmp .pid .stderr
    What a subclass adds to `command` has to write what the guest says to `console_path`.
    """

    def __init__(self, workdir: Path, name: str, *, mem: str, cpus: int, cpu: str,
                 shared_ram: bool = True, vmcoreinfo: bool = True) -> None:
        self.name = name
        self.qmp_path = workdir / f"{name}.qmp"
        self.pid_path = workdir / f"{name}.pid"
        self.console_path = workdir / f"{name}.console"
        self._stderr_path = workdir / f"{name}.stderr"
        self._process: subprocess.Popen[bytes] | None = None
        self._qmp: Qmp | None = None
        self._started = 0.0

        self.command = ["qemu-system-x86_64", "-name", name, "-accel", "tcg,thread=multi",
                        "-cpu", cpu, "-smp", str(cpus), "-m", mem, "-machine", "q35"]
        if shared_ram:
            self.command[-1] += ",memory-backend=ram"
            self.command += ["-object", f"memory-backend-memfd,id=ram,size={mem},share=on"]
        if vmcoreinfo:
            self.command += ["-device", "vmcoreinfo"]
        self.command += ["-action", "panic=pause", "-no-reboot", "-nodefaults", "-display", "none",
                         "-qmp", f"unix:{self.qmp_path},server=on,wait=off",
                         "-pidfile", str(self.pid_path)]

    def _prepare(self) -> None:
        """What has to be there before QEMU starts."""

    def __enter__(self) -> Self:
        for stale in (self.console_path, self.qmp_path, self.pid_path):
            stale.unlink(missing_ok=True)
        self._prepare()
        self._started = time.monotonic()
        with self._stderr_path.open("wb") as stderr:
            self._process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=stderr,
                                             stderr=stderr, preexec_fn=die_with_parent)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 where: TracebackType | None) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        assert self._process is not None, "the guest was not started"
        return self._process.pid

    @property
    def seconds(self) -> float:
        """Since the start of QEMU."""
        return time.monotonic() - self._started

    def console(self) -> str:
        return console_text(self.console_path)

    def qmp(self, command: str, **arguments: Any) -> Any:
        """Runs a command over the lab's own connection, which stays open: see `release_qmp`."""
        if self._qmp is None:
            self._qmp = Qmp(self.qmp_path)
        return self._qmp.execute(command, **arguments)

    def release_qmp(self) -> None:
        """Frees the QMP socket for somebody else; the next `qmp` takes it again."""
        if self._qmp is not None:
            self._qmp.close()
            self._qmp = None

    def status(self) -> str:
        """QEMU's run state: running, paused, guest-panicked, ..."""
        return str(self.qmp("query-status")["status"])

    def pause(self) -> None:
        self.qmp("stop")

    def resume(self) -> None:
        self.qmp("cont")

    def wait_crashed(self) -> Self:
        """Until QEMU has paused the panicked guest.  The QMP socket is free afterwards."""
        self._wait("panic", lambda: self.status() == "guest-panicked")
        self.release_qmp()
        return self

    def _wait(self, what: str, reached: Callable[[], bool]) -> None:
        """As long as the guest makes progress; LabError when it does not."""
        patience = Patience(self.pid, SILENT_SECONDS, lambda: len(self.console()))
        while not self._has(reached):
            console = self.console()
            # A panic that QEMU hears of stops the guest before its last line.
            if "\nLAB: " in console or "---[ end Kernel panic" in console:
                raise LabError(f"{self.name}: no {what}, the guest failed; {tail(console)}")
            if patience.has_ended():
                raise LabError(f"{self.name}: no {what} after {self.seconds:.0f} s, and no progress any more; {tail(console)}")
            time.sleep(0.1)

    def _has(self, reached: Callable[[], bool]) -> bool:
        """LabError when QEMU has ended, whatever that does to who asks it."""
        assert self._process is not None, "the guest was not started"
        try:
            if self._process.poll() is None:
                return reached()
        except (QmpError, OSError):
            time.sleep(1)  # until it has ended, if that is why
            if self._process.poll() is None:
                raise
        raise LabError(f"{self.name}: QEMU ended with {self._process.returncode}: {self._stderr_path.read_text()}"
                       f"\n{tail(self.console())}")

    def kill(self) -> None:
        """Ends QEMU, and nothing but this QEMU."""
        self.release_qmp()
        if self._process is not None:
            self._process.kill()
            self._process.wait()


class Guest(Machine):
    """A Linux guest. Its initramfs is NAME.initramfs in `workdir`."""

    def __init__(self, workdir: Path, name: str, kernel: Kernel, scenario: str, *,
                 mem: str = "512M", cpus: int = 2, shared_ram: bool = True,
                 vmcoreinfo: bool = True, cpu: str = "max", append: str = "",
                 extra: Sequence[str] = ()) -> None:
        if scenario not in SCENARIOS:
            raise LabError(f"no scenario '{scenario}'")
        super().__init__(workdir, name, mem=mem, cpus=cpus, cpu=cpu, shared_ram=shared_ram,
                         vmcoreinfo=vmcoreinfo)
        self.kernel, self.scenario = kernel, scenario
        self.canaries = Canaries.new()
        self._initramfs = workdir / f"{name}.initramfs"
        # Without crash_kexec_post_notifiers other CPUs would be stopped without their registers
        # being saved; pvpanic is one of the notifiers.
        arguments = f"console=ttyS0 {KERNEL_OPTIONS} crash_kexec_post_notifiers hvd.scenario={scenario} {append}"
        self.command += ["-kernel", str(kernel.vmlinuz), "-initrd", str(self._initramfs),
                         "-append", arguments.strip(), "-device", "pvpanic-pci",
                         "-serial", f"file:{self.console_path}", *extra]

    def _prepare(self) -> None:
        # The kernel unpacks concatenated archives, where the uncompressed ones are aligned to 4.
        common = build_initramfs(self.kernel).read_bytes()
        self._initramfs.write_bytes(common + bytes(-len(common) % 4) + self.canaries.archive())

    def wait_ready(self) -> Guest:
        """Until the guest has planted everything; its crash, if any, is a second away then."""
        self._wait("READY", lambda: "\nREADY\n" in self.console())
        return self


def qemu_dump(guest: Machine, path: Path, paging: bool = False) -> Path:
    """QEMU's own ELF dump of the guest, an independent account of its memory and registers.

    A running guest is paused meanwhile and goes on afterwards.  Needs the QMP socket.
    """
    guest.qmp("dump-guest-memory", paging=paging, protocol=f"file:{path.resolve()}")
    guest.release_qmp()
    return path
