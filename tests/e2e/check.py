#!/usr/bin/python3
"""check.py KIND FOLDER: compares a guest that produce.py captured with what others say of it.

Exit status: 0 all equal, 1 not, 77 the referee for it is not there.  Prints what was compared.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import check_debuggers
import check_hypervisor
import check_memory
import check_search
import check_stacks
import check_symbols
import check_triage
from comparison import Comparison
from images import LabError, Skip
from product import Failure, Product
from referees import RefereeError

KINDS: dict[str, Callable[[Product, Comparison], None]] = {
    "bytes": check_memory.check_bytes,
    "canaries": check_memory.check_canaries,
    "recovered": check_memory.check_recovered,
    "stack": check_stacks.check_printed_trace,
    "unwind": check_stacks.check_against_drgn,
    "triage": check_triage.check_report,
    "commands": check_triage.check_commands,
    "locked": check_triage.check_locked,
    "symbols": check_symbols.check_lines,
    "gdb": check_debuggers.check_gdb,
    "crash": check_debuggers.check_crash,
    "drgn": check_debuggers.check_drgn,
    "kdumpfile": check_debuggers.check_kdumpfile,
    "readelf": check_debuggers.check_readelf,
    "hypervisor": check_hypervisor.check_image,
    "tools": check_hypervisor.check_tools,
    "search": check_search.check_search,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    compared = Comparison()
    try:
        product = Product(options.folder)
        _ = product.facts
        KINDS[options.kind](product, compared)
    except Skip as reason:
        if compared.failures:
            return compared.verdict()
        print(f"SKIPPED: {reason}")
        return 77
    except (Failure, RefereeError, LabError, subprocess.TimeoutExpired) as error:
        print(f"FAILED: {error}")
        return 1
    return compared.verdict()


if __name__ == "__main__":
    sys.exit(main())
