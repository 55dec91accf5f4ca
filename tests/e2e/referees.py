"""Independent debuggers as referees: each opens an ELF core and says what it sees.

`core` is a kernel vmcore: hvdump's, or QEMU's dump after vmcore.as_vmcore().  Every function starts
a process of its own.  `Skip` means that this referee has no say here, and why.

What Debian 12's versions can do with the lab's kernels:
  drgn 0.0.22      all of 6.1, and of 6.12 by the crutches in drgn_frames.py and vmcore.with_old_orc
  gdb 13.1         symbols, types, direct map, registers; stacks only if the core maps vmalloc space
  crash 8.0.2      6.1 except that "ps" shows running tasks only, and "bt" stale frames among the right
                   ones; of 6.12 rd, vtop and sym: what needs its gdb (p, struct, log, bt) fails
  libkdumpfile     physical memory
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from images import Skip, built, cache
from vmcore import ElfDump, as_vmcore, with_old_orc

HERE = Path(__file__).resolve().parent


class RefereeError(RuntimeError):
    """The referee was asked and failed; the message has its last words."""


@dataclass(frozen=True)
class Frame:
    name: str | None  # None in user mode
    inlined: bool
    pc: int
    module: str | None  # only where drgn could not read the module's own debug information


@dataclass(frozen=True)
class Task:
    pid: int
    ppid: int
    comm: str
    frames: list[Frame]  # empty while it runs on a CPU: see Stacks.cpus


@dataclass(frozen=True)
class Stacks:
    cpus: list[list[Frame]]  # innermost first; from the registers in the core's notes
    running: list[tuple[int, str]]  # pid and name of what each CPU runs
    tasks: list[Task]

    @staticmethod
    def from_json(raw: dict[str, Any]) -> Stacks:
        """From what dataclasses.asdict() made of one."""
        return Stacks([[Frame(**f) for f in frames] for frames in raw["cpus"]],
                      [(pid, comm) for pid, comm in raw["running"]],
                      [Task(t["pid"], t["ppid"], t["comm"], [Frame(**f) for f in t["frames"]])
                       for t in raw["tasks"]])


def _need(program: str, package: str) -> str:
    path = shutil.which(program)
    if path is None:
        raise Skip(f"{program} is not installed (Debian package {package})")
    return path


def _run(command: Sequence[str | Path], timeout: float,
         environment: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout,
                          env={**os.environ, **(environment or {})})
    output = done.stdout.decode("utf-8", "replace")
    if done.returncode != 0:
        words = (done.stderr.decode("utf-8", "replace") + output).strip()[-1500:]
        raise RefereeError(f"{Path(command[0]).name} ended with {done.returncode}: {words}")
    return output


def _release(core: Path) -> tuple[int, int]:
    found = re.match(r"(\d+)\.(\d+)", ElfDump(core).vmcoreinfo()["OSRELEASE"])
    assert found, "VMCOREINFO without a kernel release"
    return int(found[1]), int(found[2])


def gdb(core: Path, vmlinux: Path, commands: Iterable[str], timeout: float = 900) -> dict[str, str]:
    """The output of each gdb command; CPUs are gdb's threads 1, 2, ..."""
    offset = int(ElfDump(core).vmcoreinfo()["KERNELOFFSET"], 16)
    command: list[str | Path] = [_need("gdb", "gdb"), "-nx", "-batch", "-ex", "set width 0",
                                 "-ex", f"core-file {core}",
                                 "-ex", f"add-symbol-file {vmlinux} -o {offset:#x}"]
    commands = list(commands)
    for number, text in enumerate(commands):
        # Python rather than `echo`, so that a failing command does not end the session.
        script = (f"import gdb\ntry: out = gdb.execute({text!r}, to_string=True)\n"
                  f"except gdb.error as e: out = 'error: %s' % e\n"
                  f"print('@@{number}@@' + out)")
        command += ["-ex", f"python exec({script!r})"]
    parts = re.split(r"@@\d+@@", _run(command, timeout))
    return dict(zip(commands, (part.strip() for part in parts[1:])))


def crash(core: Path, vmlinux: Path, commands: Iterable[str], timeout: float = 900) -> dict[str, str]:
    """The output of each command of the crash utility.

    Empty for a command that it cannot do: see above.
    """
    command: list[str | Path] = [_need("crash", "crash"), "-s"]
    # Linux commit ac3b43283923 ("module: replace module_layout with module_memory"), 6.4: crash 8.0.2
    # stops at the module list, and does not find KASLR's offset by itself either.
    if _release(core) >= (6, 4):
        command += ["--kaslr=auto", "--no_modules"]
    commands = list(commands)
    with tempfile.TemporaryDirectory() as folder:
        outputs = [Path(folder) / str(number) for number in range(len(commands))]
        script = Path(folder) / "commands"
        script.write_text("".join(f"{text} > {out}\n" for text, out in zip(commands, outputs))
                          + "quit\n")
        said = _run([*command, "-i", script, vmlinux, core], timeout)
        if not any(out.exists() for out in outputs):
            raise RefereeError(f"crash ran no command: {said[-500:]}")
        return {text: out.read_text(errors="replace").strip() if out.exists() else ""
                for text, out in zip(commands, outputs)}


def drgn_stacks(core: Path, vmlinux: Path, modules: Iterable[Path] = (),
                timeout: float = 900) -> Stacks:
    """All CPUs' and tasks' stacks; `modules` are .ko files with DWARF."""
    python = "/usr/bin/python3"  # Debian's, whatever `python3` in PATH may be
    if subprocess.run([python, "-c", "import drgn"], capture_output=True).returncode != 0:
        raise Skip("drgn is not installed (Debian package python3-drgn)")
    arguments: list[Path] = [core, vmlinux, *modules]
    if _release(core) >= (6, 4):
        key = f"{vmlinux.stat().st_mtime_ns:x}-{vmlinux.stat().st_size:x}"
        old = built(cache() / "old-orc" / key / "vmlinux", lambda out: with_old_orc(vmlinux, out))
        arguments = [core, old]  # drgn would not find out where modules are
    # Only ORC knows of the jump from the task's stack to the IRQ stack; DWARF does not.
    found: dict[str, Any] = json.loads(_run([python, HERE / "drgn_frames.py", *arguments], timeout,
                                            {"DRGN_PREFER_ORC_UNWINDER": "1"}))

    def frames(raw: dict[str, Any]) -> list[Frame]:
        return [Frame(**frame) for frame in raw.get("frames", [])]

    return Stacks([frames(c) for c in found["cpus"]],
                  [(c["pid"], c["comm"]) for c in found["cpus"]],
                  [Task(t["pid"], t["ppid"], t["comm"], frames(t)) for t in found["tasks"]])


def kdumpfile_read(core: Path, pa: int, size: int) -> bytes:
    """Physical memory according to libkdumpfile."""
    script = ("import sys, kdumpfile\n"
              "dump = kdumpfile.kdumpfile(sys.argv[1])\n"
              "data = dump.read(kdumpfile.KDUMP_MACHPHYSADDR, int(sys.argv[2]), int(sys.argv[3]))\n"
              "print(data.hex())")
    python = "/usr/bin/python3"
    if subprocess.run([python, "-c", "import kdumpfile"], capture_output=True).returncode != 0:
        raise Skip("libkdumpfile's binding is not installed (Debian package python3-libkdumpfile)")
    return bytes.fromhex(_run([python, "-c", script, core, str(pa), str(size)], 300))


@dataclass(frozen=True)
class Elf:
    segments: list[tuple[str, int, int, int, int]]  # type, file offset, va, pa, size in the file
    notes: list[tuple[str, int]]  # owner, size


def readelf(core: Path) -> Elf:
    output = _run([_need("readelf", "binutils"), "-lnW", core], 300)
    number = r"(0x[0-9a-f]+)"
    segments = [(m[1], *(int(m[i], 16) for i in range(2, 6))) for m in re.finditer(
        rf"^  (NOTE|LOAD) +{number} {number} {number} {number} ", output, re.MULTILINE)]
    notes = [(m[1], int(m[2], 16)) for m in re.finditer(
        r"^  (CORE|QEMU|LINUX|VMCOREINFO) +(0x[0-9a-f]+)\t", output, re.MULTILINE)]
    return Elf(segments, notes)  # type: ignore[arg-type]


def verdicts(qemu_dump: Path, vmlinux: Path, modules: Sequence[Path]) -> dict[str, str]:
    """One line per referee about QEMU's own dump of a guest; for smoke.py."""
    core = as_vmcore(qemu_dump, vmlinux, qemu_dump.with_suffix(".vmcore"))

    def ask_drgn() -> str:
        stacks = drgn_stacks(core, vmlinux, modules)
        return f"{len(stacks.tasks)} tasks; " + "; ".join(
            f"{comm}: " + " < ".join(str(f.name) for f in frames if not f.inlined)
            for frames, (_, comm) in zip(stacks.cpus, stacks.running))

    def ask_crash() -> str:
        said = crash(core, vmlinux, ["log", "ps", "bt -a"])
        bt = re.findall(r"^ *#\d+ \[\w+\] (\S+)", said["bt -a"], re.MULTILINE)
        return (f"log {len(said['log'].splitlines())} lines, ps {len(said['ps'].splitlines())} "
                f"lines, bt {' < '.join(bt) or 'none'}")

    def ask_gdb() -> str:
        said = gdb(core, vmlinux, ["p init_task.comm", "thread apply all bt 3"])
        return said["p init_task.comm"] + "; " + said["thread apply all bt 3"].replace("\n", " ")

    def ask_kdumpfile() -> str:
        pa = 16 << 20
        same = kdumpfile_read(core, pa, 4096) == ElfDump(core).read(pa, 4096)
        return "reads the same page as we do" if same else "reads ANOTHER page than we do"

    def ask_readelf() -> str:
        elf = readelf(core)
        return f"{len(elf.segments)} segments, notes {[owner for owner, _ in elf.notes]}"

    asked: dict[str, Callable[[], str]] = {"drgn": ask_drgn, "crash": ask_crash, "gdb": ask_gdb,
                                           "kdumpfile": ask_kdumpfile, "readelf": ask_readelf}
    said = {}
    for name, ask in asked.items():
        try:
            said[name] = ask()
        except (Skip, RefereeError, subprocess.TimeoutExpired) as error:
            said[name] = f"{type(error).__name__}: {error}"
    return said
