"""One captured guest in its folder: what is known of it, and the programs under test.

produce.py makes such a folder, check.py looks at it.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import referees
from images import Kernel, Skip, build_module


class Failure(AssertionError):
    """A check cannot even begin; the message says why."""


def program(name: str) -> Path:
    """A program under test. HVDUMP_BIN is the build folder, or one that holds the programs themselves."""
    folder = Path(os.environ.get("HVDUMP_BIN") or Path(__file__).parents[2] / "build" / "dev")
    part = {"capture": "capture", "extract": "extractor", "analyze": "analyzer", "decrypt": "decrypt"}
    for path in (folder / name, folder / part[name.removeprefix("hvdump-")] / name):
        if path.is_file():
            return path
    raise Failure(f"{name} is not built in {folder} (set HVDUMP_BIN)")


def run(name: str, *arguments: str | Path, expect: int | Sequence[int] | None = 0,
        timeout: float = 900, **options: Any) -> subprocess.CompletedProcess[bytes]:
    """Runs a program under test; `expect` is the exit status it must end with, None for any."""
    options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    done = subprocess.run([program(name), *map(str, arguments)], timeout=timeout, check=False, **options)
    allowed = [expect] if isinstance(expect, int) else expect
    if done.returncode < 0 or (allowed is not None and done.returncode not in allowed):
        said = (done.stderr or b"").decode("utf-8", "replace")[-2000:]
        raise Failure(f"{name} {' '.join(map(str, arguments))}: exit {done.returncode}, not {expect}: {said}")
    return done


def run_json(name: str, *arguments: str | Path, **options: Any) -> Any:
    return json.loads(run(name, *arguments, **options).stdout)


class Product:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.hvd, self.key = folder / "guest.hvd", folder / "key"
        self.qemu_dump = folder / "qemu.elf"
        self.elf, self.raw = folder / "guest.elf", folder / "guest.raw"
        self.qemu_windows_dump = folder / "qemu.dmp"
        self.recovered, self.hypervisor = folder / "recovered.hvd", folder / "hypervisor"

    def windows_dump(self, kind: str) -> Path:
        """Of a Windows-like guest, by --dmp-type."""
        return self.folder / f"{kind}.dmp"

    @property
    def facts_path(self) -> Path:
        return self.folder / "facts.json"

    @cached_property
    def facts(self) -> dict[str, Any]:
        skipped = self.folder / "skipped"
        if skipped.exists():
            raise Skip(f"the guest was not made: {skipped.read_text()}")
        if not self.facts_path.exists():
            raise Failure(f"{self.folder} has no facts.json: run produce.py first")
        facts: dict[str, Any] = json.loads(self.facts_path.read_text())
        return facts

    @cached_property
    def console(self) -> str:
        return (self.folder / "console").read_text()

    @property
    def scenario(self) -> str:
        return str(self.facts["scenario"])

    @cached_property
    def kernel(self) -> Kernel:
        return Kernel.find(self.facts["kernel"])

    @property
    def vmlinux(self) -> Path:
        if not self.kernel.has_debug_info:
            raise Skip(f"kernel {self.kernel.name} has no debug package: scripts/fetch-kernels --dbg")
        return self.kernel.vmlinux

    @cached_property
    def modules(self) -> list[Path]:
        """All modules with DWARF that the guest may have loaded."""
        return [build_module(self.kernel), *sorted(self.kernel.debug_modules.glob("*.ko"))]

    @cached_property
    def vmcoreinfo(self) -> dict[str, str]:
        """According to QEMU where it knows, else to what the extracted core says."""
        from vmcore import ElfDump
        for path in (self.qemu_dump, self.elf):
            try:
                return ElfDump(path).vmcoreinfo()
            except (ValueError, FileNotFoundError):
                continue
        raise Failure("no dump of this guest has VMCOREINFO")

    def analyze(self, command: str, *arguments: str | Path, **options: Any) -> bytes:
        return bytes(run("hvdump-analyze", command, self.hvd, *arguments, "--identity", self.key,
                         **options).stdout)

    @cached_property
    def report(self) -> dict[str, Any]:
        """The triage report, made with the key and without debug packages."""
        report: dict[str, Any] = json.loads(self.analyze("triage"))
        return report

    @cached_property
    def guest(self) -> dict[str, Any]:
        """The guest's part of the report."""
        return next(p for p in self.report["partitions"] if p["name"] == self.facts["name"])

    @property
    def crashing_cpu(self) -> dict[str, Any]:
        cpu: dict[str, Any] = next(c for c in self.guest["cpus"] if c["id"] == self.guest["crash"]["cpu"])
        return cpu

    @cached_property
    def drgn(self) -> referees.Stacks:
        """All stacks according to drgn, which reads the extracted core; asked once and kept."""
        kept = self.folder / "drgn.json"
        if kept.exists() and kept.stat().st_mtime > self.elf.stat().st_mtime:
            return referees.Stacks.from_json(json.loads(kept.read_text()))
        stacks = referees.drgn_stacks(self.elf, self.vmlinux, self.modules)
        kept.write_text(json.dumps(dataclasses.asdict(stacks)))
        return stacks

    def copy_of(self, path: Path, name: str) -> Path:
        """A scratch copy, holes kept; the caller deletes it."""
        copy = self.folder / name
        copy.unlink(missing_ok=True)
        subprocess.run(["cp", "--sparse=always", path, copy], check=True)
        return copy

    def need(self, path: Path) -> Path:
        _ = self.facts  # says so if the guest was left out
        if not path.exists():
            raise Failure(f"{path} is missing: run produce.py {self.folder} --extract")
        return path

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
