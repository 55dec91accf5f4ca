#!/usr/bin/python3
"""check_machine.py FOLDER: what the capture kernel made of a dead KVM host, split by owner.

The leak test: every secret of a run is searched for in the whole dump, in the hypervisor's images of both levels and
in what each tenant gets, and must be with its owner alone.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from check_machine_debuggers import check_referees, check_stacks
from check_machine_owners import check_dump, check_entry, check_kvm_state, check_leaks
from check_machine_pages import check_patterns
from check_machine_policies import check_budget, check_levels, check_policies
from check_machine_transport import check_inputs, check_network, check_torn
from comparison import Comparison
from host import GUESTS, facts_of
from images import Kernel, LabError, Skip
from machine_pieces import Split
from product import Failure


def check(folder: Path, facts: dict[str, Any], compared: Comparison) -> int:
    keys = {name: folder / f"{name}.key" for name in (*GUESTS, "host-user")}
    split = Split(folder, folder / "dump.hvd", "dump", keys)
    check_dump(facts, folder, split, compared)
    check_leaks(facts, split, "level secure", compared)
    check_kvm_state(folder, keys, split, compared)
    check_entry(folder, compared)
    check_stacks(folder, split, compared)
    check_torn(folder, split, compared)
    check_policies(facts, folder, keys, compared)
    check_levels(facts, folder, keys, split, compared)
    check_budget(folder, keys, split, compared)
    check_network(folder, keys, compared)
    check_patterns(facts, folder, keys, compared)
    if facts["kernel"] == "6.1":  # how a file is read does not depend on the kernel in it
        check_inputs(folder, keys, split, compared)
    check_referees(facts, folder, split, Kernel.find(facts["kernel"]), compared)
    return compared.verdict()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    try:
        return check(folder, facts_of(folder), Comparison())
    except Skip as reason:
        print(f"SKIPPED: {reason}")
        return 77
    except (Failure, LabError) as error:
        print(f"FAILED: {error}")
        return 1


if __name__ == "__main__":
    sys.exit(main())
