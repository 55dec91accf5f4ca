#!/usr/bin/python3
"""Read every vector of a directory with hvd_reader.py and compare with the expectations."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import hvd_verify
from hvd_format import Damaged, Refused, Sealed
from hvd_reader import Dump
from vector_outcome import differences, expectations, page_numbers


def outcome(path: Path, expect: dict, salvage: bool) -> dict:
    try:
        dump = Dump(path, salvage)
    except Refused:
        return {"open": "refused"}
    partitions = []
    for partition in dump.partitions.values():
        if partition.sealed and expect.get("key"):
            dump.use_partition_key(partition, bytes.fromhex(expect["key"]))
        elif partition.sealed and expect.get("identity"):
            dump.use_identity(partition, path.parent / expect["identity"])
        pages = {}
        for number in page_numbers(expect):
            page = dump.page(partition, number)
            pages[str(number)] = {"state": page.state}
            if page.state == "stored":
                pages[str(number)]["sha256"] = hashlib.sha256(page.data).hexdigest()
        for read in (dump.facts, lambda p: list(dump.notes(p)), lambda p: list(dump.registers(p))):
            try:
                read(partition)
            except Damaged as error:
                dump.report(f"{partition.name}: {error}")
            except Sealed:
                pass
        dump.check_totals(partition)
        partitions.append({"name": partition.name, "state": partition.state, "sealed": partition.sealed,
                           "pages": pages})
    bad = hvd_verify.problems(dump)
    return {"open": "ok", "complete": dump.complete, "verify": "bad" if bad else "good",
            "damage": bool(dump.problems or bad), "partitions": partitions}


def main() -> int:
    if len(sys.argv) not in (2, 3):
        print("usage: check_reader.py OUTDIR [NAME-PATTERN]", file=sys.stderr)
        return 2
    count = wrong = 0
    for name, path, expect in expectations(Path(sys.argv[1]), *sys.argv[2:]):
        for salvage in (False, True):  # The footer only makes reading faster, never different.
            count += 1
            found = differences(expect, outcome(path, expect, salvage))
            wrong += bool(found)
            for line in found:
                print(f"{name}{' (front to back)' if salvage else ''}: {line}")
    print(f"{count} readings, {wrong} wrong")
    return 1 if wrong or not count else 0


if __name__ == "__main__":
    sys.exit(main())
