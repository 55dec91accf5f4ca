#!/usr/bin/python3
"""Prove the worked example of formats/hvd/SPEC.md.

Its bytes are compared with a dump (the other writer's), read with hvd_reader.py, and built again with hvd_writer.py.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from pathlib import Path

import hvd_verify
from hvd_format import REASONS
from hvd_reader import Dump
from hvd_writer import Absent, DumpWriter, PartitionWriter, Stored
from vector_parts import forge

SPEC = Path(__file__).resolve().parents[2] / "formats/hvd/SPEC.md"
ID, SEED, CREATED = bytes(range(16)), b"\x07" * 32, 10**18
PAGE_2 = b"hvdump!\n" * 512


def spec_bytes() -> bytes | None:
    block = re.search(r"^```hex\n(.*?)^```", SPEC.read_text(), re.M | re.S)
    text = re.sub(r"^\s*[0-9a-fA-F]+:", "", block[1], flags=re.M) if block else "-"  # Offsets may lead a line.
    try:
        return bytes.fromhex(text)
    except ValueError:
        return None


def own_bytes() -> bytes:
    """The example as this writer has it. JSON texts, flags and compression are a writer's choice."""
    dump = DumpWriter(ID, SEED, CREATED)
    dump.dump({"agent": "hvdump", "version": "1.0", "host": "example"})
    out = PartitionWriter(dump, 0, "example", pack_codec=2, always_compress=False)
    out.start()
    out.facts([[0, 12288]])
    out.segment(0, {0: Absent(0), 1: Absent(REASONS.index("unreadable")), 2: Stored(0, PAGE_2)})
    out.end()
    return dump.finish()


def read(data: bytes) -> list[str]:
    """What the bytes do not hold of what SPEC.md says of them."""
    wrong: list[str] = []

    def want(what: str, have: object, value: object) -> None:
        if have != value:
            wrong.append(f"{what}: {have!r}, not {value!r}")

    with tempfile.NamedTemporaryFile(suffix=".hvd") as file:
        file.write(data)
        file.flush()
        for salvage in (False, True):
            dump = Dump(file.name, salvage)
            want("complete", dump.complete, True)
            want("read by its index", dump.indexed, not salvage)
            want("dump id", dump.id, ID)
            want("created", dump.created, CREATED)
            want("signer", dump.signer, bytes(DumpWriter(ID, SEED).key.verify_key))
            want("verify", hvd_verify.problems(dump), [])
            want("partitions", [(p.name, p.sealed) for p in dump.partitions.values()], [("example", False)])
            for p in dump.partitions.values():
                want("ranges", [r[:2] for r in (dump.facts(p) or {}).get("ranges", [])], [[0, 12288]])
                want("pages", [(n, page.state) for n, page in dump.pages(p)],
                     [(0, "zero"), (1, "absent:unreadable"), (2, "stored")])
                want("page 2", dump.page(p, 2).data, PAGE_2)
                want("page 3", dump.page(p, 3).state, "hole")
                dump.check_totals(p)
            want("problems", dump.problems, [])
    # Everything that is not a payload of the writer's choice follows from SPEC.md.
    want("built again", forge(data, lambda loose: loose, SEED) == data, True)
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dump", type=Path, nargs="?", help="compare SPEC.md with this file, byte for byte")
    parser.add_argument("--write", type=Path, help="write this writer's rendition of the example")
    args = parser.parse_args()
    if args.write:
        args.write.write_bytes(own_bytes())
        wrong = read(own_bytes())
    else:
        data, wrong = spec_bytes(), []
        if data is None:
            print(f"{SPEC.name} has no block of hexadecimal digits", file=sys.stderr)
            if args.dump is None:
                return 1
            wrong.append("nothing to compare with")
            data = args.dump.read_bytes()
        elif args.dump and (other := args.dump.read_bytes()) != data:
            at = next((n for n, (a, b) in enumerate(zip(data, other)) if a != b), min(len(data), len(other)))
            wrong.append(f"SPEC.md has {len(data)} bytes, the dump {len(other)}; they differ from byte {at} on")
        wrong += read(data)
    print("\n".join(wrong) or "good")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
