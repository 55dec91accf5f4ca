"""Runs emulators for as long as they make progress, however slow the machine is that runs the tests."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from images import LabError


# For the kernel of a machine under software emulation. Early in its boot Linux waits for some ticks of the timer, and on a
# busy machine they come too late: it panics with "IO-APIC + timer doesn't work!" (arch/x86/kernel/apic/io_apic.c,
# check_timer()). A guest of KVM's does not try either.
KERNEL_OPTIONS = "no_timer_check"


class Patience:
    """Ends when an emulator uses `seconds` of CPU time, or lets four times as much of real time pass, and `sign`,
    a view of whatever grows while the machine makes progress, stays what it was.

    CPU time stretches on a busy machine as the emulator's own work does. Real time catches an emulator that sleeps.
    """

    def __init__(self, pid: int, seconds: float, sign: Callable[[], object]) -> None:
        self._pid, self._seconds, self._sign = pid, seconds, sign
        self._seen: object = None
        self._cpu = self._real = 0.0
        self._renew()

    def _renew(self) -> None:
        self._cpu, self._real = self._used(), time.monotonic()

    def _used(self) -> float:
        try:
            fields = Path(f"/proc/{self._pid}/stat").read_text().rpartition(") ")[2].split()
        except OSError:
            return self._cpu  # it has ended, which its parent notices
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def has_ended(self) -> bool:
        now = self._sign()
        if now != self._seen:
            self._seen = now
            self._renew()
        return (self._used() - self._cpu > self._seconds
                or time.monotonic() - self._real > 4 * self._seconds)


def die_with_parent() -> None:
    """Runs between fork and exec, so that no guest outlives a killed test."""
    # 1 is PR_SET_PDEATHSIG. It goes by threads: the thread that started the guest has to live on.
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def console_text(path: Path) -> str:
    return path.read_bytes().decode("utf-8", "replace").replace("\r", "") if path.exists() else ""


def tail(said: str) -> str:
    return f"the machine's console ends with:\n{said[-6000:]}" if said else "the machine's console is empty"


def _allocated(path: Path) -> int:
    return path.stat().st_blocks if path.exists() else 0


def run_machine(command: Sequence[str | Path], console: Path, *, seconds: float, grows: Sequence[Path] = (),
                is_done: Callable[[str], bool] = lambda said: False,
                hopeless: Callable[[str], str] = lambda said: "", **options: Any) -> str:
    """Runs an emulator until it ends, or until `is_done` with what the machine said on its console; returns that.

    Raises LabError, with the end of the console, when the emulator fails, when neither the console nor the files
    `grows` have grown for the time that Patience grants, or as soon as `hopeless` finds a reason in the console.
    """
    options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL} | options
    console.unlink(missing_ok=True)
    said, trouble = "", ""
    with subprocess.Popen(command, preexec_fn=die_with_parent, **options) as emulator:
        patience = Patience(emulator.pid, seconds, lambda: (len(said), *map(_allocated, grows)))
        while not trouble and not is_done(said) and emulator.poll() is None:
            time.sleep(0.5)
            said = console_text(console)
            trouble = hopeless(said)
            if not trouble and patience.has_ended():
                trouble = "the machine makes no progress any more"
        killed = emulator.poll() is None
        emulator.kill()
    said = console_text(console)
    if not trouble and not killed and emulator.returncode != 0:
        trouble = f"the emulator ended with {emulator.returncode}"
    if trouble:
        raise LabError(f"{trouble}; {tail(said)}")
    return said
