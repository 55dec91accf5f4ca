#!/usr/bin/python3
"""Two real guests under software emulation, for scripts/demo: one panics, the other stays well.

    demo-guests.py FOLDER

Boots atlas (Debian 12's 6.12 kernel, which follows a null pointer in a module) and birch (its 6.1
kernel, idle), says when they are where the story wants them, and keeps them until it is ended by
Ctrl-C or SIGTERM. Their QMP sockets are FOLDER/atlas.qmp and FOLDER/birch.qmp, their consoles
FOLDER/NAME.console, and FOLDER/birch.secret is a line that birch keeps in its memory only.
"""

from __future__ import annotations

import ctypes
import signal
import sys
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "e2e"))
sys.dont_write_bytecode = True

from lab import Guest, Kernel, LabError, build_module  # noqa: E402


def say(text: str) -> None:
    print(text, flush=True)


def run(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as guests:
        crash_kernel = Kernel.find("6.12-cloud")
        atlas = guests.enter_context(Guest(folder, "atlas", crash_kernel, "null"))
        birch = guests.enter_context(Guest(folder, "birch", Kernel.find("6.1-cloud"), "idle"))
        birch.wait_ready()
        say(f"birch is up after {birch.seconds:.0f} s and runs Linux {birch.kernel.release}")
        (folder / "birch.secret").write_text(birch.canaries.env + "\n")
        atlas.wait_crashed()
        say(f"atlas has panicked after {atlas.seconds:.0f} s; QEMU holds it still as it was")
        # With its DWARF, for a debugger.
        (folder / "crashme.ko").unlink(missing_ok=True)
        (folder / "crashme.ko").symlink_to(build_module(crash_kernel))
        say("ready")
        signal.pause()


def main() -> int:
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        print(__doc__.strip())
        return 0 if sys.argv[1:] in (["-h"], ["--help"]) else 2
    # As an exception, so that every guest is ended on the way out; also when the caller has gone
    # (1 is PR_SET_PDEATHSIG).
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)
    try:
        run(Path(sys.argv[1]))
    except LabError as error:
        print(f"demo-guests: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
