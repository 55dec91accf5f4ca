#!/usr/bin/python3
"""How the programs behave around two real guests, one crashed and one running, when things go as they should not.

    behaviour.py FOLDER [CASE ...]      boots both guests, runs the cases (default: all), removes FOLDER

Exit status as check.py's.  Cases are in behaviour_capture.py, behaviour_peers.py and behaviour_files.py.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from check_memory import find
from comparison import Comparison
from images import Kernel, LabError, Skip
from lab import Guest
from product import Failure, run


@dataclass
class World:
    """Two guests, a key for each, and a folder for dumps."""

    folder: Path
    crashed: Guest
    running: Guest
    keys: dict[str, Path] = field(default_factory=dict)  # by "crashed", "running", "other"
    recipients: dict[str, str] = field(default_factory=dict)

    def vm(self, *names: str) -> list[str]:
        """--vm options for these guests."""
        guests = {"crashed": self.crashed, "running": self.running}
        return [word for name in names for word in ("--vm", f"{name}={guests[name].qmp_path}")]

    def to(self, *names: str) -> list[str]:
        """--recipient options, each guest to its own key."""
        return [word for name in names for word in ("--recipient", f"{name}={self.recipients[name]}")]

    def states(self) -> tuple[str, str]:
        """Run states, crashed and running; the QMP sockets are free afterwards."""
        found = self.crashed.status(), self.running.status()
        self.crashed.release_qmp()
        self.running.release_qmp()
        return found

    def goes_on(self, compared: Comparison, after: str) -> None:
        """The running guest runs; if not, that is one failure, not one for each case to come."""
        if not compared.equal(self.running.status(), "running", f"{after}: run state"):
            self.running.resume()
        self.running.release_qmp()

    def both(self) -> Path:
        """A dump of both guests, each sealed to its own key; made once."""
        dump = self.folder / "both.hvd"
        if not dump.exists():
            capture("qemu", *self.vm("crashed", "running"), *self.to("crashed", "running"), "-o", dump)
        return dump

    def secrets_in(self, path: Path, guest: Guest) -> list[str]:
        """Which of a guest's canaries a file holds in clear."""
        c = guest.canaries
        forms = {"env": c.env.encode(), "file": c.file.encode(), "register": c.register.to_bytes(8, "little")}
        return [name for name, form in forms.items() if find(path, form) >= 0]


AS_THEY_WERE = ("guest-panicked", "running")
Case = Callable[[World, Comparison], None]


def capture(*arguments: str | Path, expect: int | None = 0, **options: Any) -> subprocess.CompletedProcess[bytes]:
    return run("hvdump-capture", *arguments, expect=expect, **options)


def partitions(dump: Path, expect: Any = (0, 3)) -> dict[str, dict[str, Any]]:
    said = run("hvdump-extract", "list", dump, "--json", expect=expect).stdout
    return {p["name"]: p for p in json.loads(said)["partitions"]}


def told(done: subprocess.CompletedProcess[bytes]) -> str:
    return done.stderr.decode("utf-8", "replace").strip()


def full_device(folder: Path) -> Path:
    """A device that never has room; one of our own, since a program that errs may replace it by a file."""
    path = folder / "full"
    path.unlink(missing_ok=True)
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 7))
        path.open("wb").close()
    except OSError as error:
        raise Failure(f"cannot make a device node in {folder}: {error}") from None
    return path


def cases() -> dict[str, Case]:
    import behaviour_capture
    import behaviour_files
    import behaviour_peers
    found: dict[str, Case] = {}
    for module in (behaviour_capture, behaviour_peers, behaviour_files):
        found |= {name.removeprefix("case_"): case for name, case in vars(module).items() if name.startswith("case_")}
    return found


def run_cases(folder: Path, chosen: list[str]) -> int:
    from produce import age_key
    compared = Comparison()
    with ExitStack() as stack:
        # Short paths for the sockets.
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hvd-")))
        options = {"mem": "256M", "append": "hvd.fill=16"}
        world = World(folder, *(stack.enter_context(Guest(scratch, name, Kernel.find(kernel), scenario, **options))
                                for name, kernel, scenario in (("crashed", "6.1", "null"), ("running", "6.12", "idle"))))
        for name in ("crashed", "running", "other"):
            world.keys[name] = folder / f"{name}.key"
            world.recipients[name] = age_key(world.keys[name])
        world.crashed.wait_crashed()
        world.running.wait_ready().release_qmp()
        for name, case in cases().items():
            if chosen and name not in chosen:
                continue
            print(f"{name}: {(case.__doc__ or '').splitlines()[0]}", flush=True)
            try:
                case(world, compared)
            except (Failure, AssertionError, OSError, ValueError, KeyError, LabError,
                    subprocess.TimeoutExpired) as error:
                compared.that(False, f"case {name} can be run", f"{type(error).__name__}: {error}")
            world.goes_on(compared, f"after {name}")
            compared.equal(world.states(), AS_THEY_WERE, "run states afterwards")
    return compared.verdict()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("case", nargs="*", help="of " + ", ".join(cases()))
    options = parser.parse_args()
    shutil.rmtree(options.folder, ignore_errors=True)  # what a killed run has left has other keys
    options.folder.mkdir(parents=True)
    try:
        return run_cases(options.folder, options.case)
    except Skip as reason:
        print(f"SKIPPED: {reason}")
        return 77
    except (Failure, LabError) as error:
        print(f"FAILED: {error}")
        return 1
    finally:
        shutil.rmtree(options.folder, ignore_errors=True)


if __name__ == "__main__":
    sys.modules["behaviour"] = sys.modules["__main__"]
    sys.exit(main())
