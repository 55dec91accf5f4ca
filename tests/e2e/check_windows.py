#!/usr/bin/python3
"""check_windows.py KIND FOLDER: compares a guest of produce_windows.py with what is true of it.

Exit status: 0 all equal, 1 not, 77 the referee for it is not there.  Prints what was compared.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from check_windows_dumps import check_dumps, check_import, check_qemu, check_referees, check_sealed
from check_windows_report import check_commands, check_triage
from check_windows_store import check_store
from comparison import Comparison
from images import LabError, Skip
from product import Failure
from windows_product import Windows

KINDS = {"triage": check_triage, "store": check_store, "commands": check_commands, "sealed": check_sealed, "dumps": check_dumps,
         "import": check_import, "qemu": check_qemu, "referees": check_referees}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    compared = Comparison()
    try:
        windows = Windows(options.folder.resolve())
        _ = windows.facts
        KINDS[options.kind](windows, compared)
    except Skip as reason:
        if compared.failures:
            return compared.verdict()
        print(f"SKIPPED: {reason}")
        return 77
    except (Failure, LabError) as error:
        print(f"FAILED: {error}")
        return 1
    return compared.verdict()


if __name__ == "__main__":
    sys.exit(main())
