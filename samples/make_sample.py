#!/usr/bin/python3
"""make_sample.py: writes sample.hvd and sample.key, beside itself; needs age and python3-nacl.

The dump holds a made-up guest "example" of 64 KiB, sealed to the key, and a stateless one. The key is
a throw-away: it is in the repository for everybody to see.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests" / "vectors"))
sys.dont_write_bytecode = True

from hvd_format import PAGE  # noqa: E402
from hvd_writer import Absent, DumpWriter, PartitionWriter, Repeat, Stored, to_json  # noqa: E402

DUMP_ID = bytes.fromhex("5a3bc0de5a3bc0de5a3bc0de5a3bc0de")
PARTITION_KEY = bytes.fromhex("1f") * 32
SIGNING_SEED = bytes.fromhex("2e") * 32
ZERO, UNREADABLE, KERNEL, USER = 0, 5, 0, 1


def key_slot(recipient: str) -> bytes:
    text = f"hvdump-keys/1\ndump {DUMP_ID.hex()}\npartition 0\npartition-key {PARTITION_KEY.hex()}\n"
    wrapped = subprocess.run(["age", "-r", recipient], input=text.encode(), capture_output=True, check=True).stdout
    return len(recipient).to_bytes(2, "little") + recipient.encode() + wrapped


def page(text: str) -> bytes:
    return (text.encode().ljust(31) + b"\n") * (PAGE // 32)


def totals(stored_bytes: int) -> Callable[[str, bytes], bytes]:
    """Puts the sizes, which the vectors' writer leaves at zero, into PARTITION_END."""
    def hook(what: str, data: bytes) -> bytes:
        if what != "end":
            return data
        return to_json(json.loads(data) | {"total_bytes": 16 * PAGE, "stored_bytes": stored_bytes})
    return hook


def dump(recipient: str) -> bytes:
    out = DumpWriter(DUMP_ID, SIGNING_SEED, created_ns=1_767_225_600 * 10**9)
    out.dump({"agent": "samples/make_sample.py"})
    out.hook = totals(3 * PAGE)
    guest = PartitionWriter(out, 0, "example", key=PARTITION_KEY, codec=2, pack_codec=2, chunk_pages=8)
    guest.start([key_slot(recipient)])
    guest.facts([[0, 16 * PAGE]], uuid="00000000-0000-4000-8000-000000000001")
    guest.note(0, 0, b"VMCOREINFO", b"OSRELEASE=6.1.0-example\nPAGESIZE=4096\n")
    guest.registers(0, 0, [1, 2, 3])
    pages = {n: Absent(ZERO) for n in range(16)} | {15: Absent(UNREADABLE)}
    pages |= {1: Stored(KERNEL, page("this is the kernel's page")), 2: Repeat(1), 3: Stored(USER, page("this is the tenant's secret"))}
    guest.segment(0, pages)
    guest.end()
    out.hook = totals(0)
    other = PartitionWriter(out, 1, "web-1", pack_codec=2)
    other.start()
    other.facts([[0, 16 * PAGE]])
    other.segment(0, {n: Absent(1) for n in range(16)})
    other.end(state="stateless")
    return out.finish()


def main() -> int:
    key = HERE / "sample.key"
    if not key.exists():
        subprocess.run(["age-keygen", "-o", key], check=True, capture_output=True)
        key.write_text("# A throw-away key: everybody has it.\n" + key.read_text())
        key.chmod(0o644)
    recipient = subprocess.run(["age-keygen", "-y", key], check=True, capture_output=True, text=True).stdout.strip()
    (HERE / "sample.hvd").write_bytes(dump(recipient))
    print(f"sample.hvd: {(HERE / 'sample.hvd').stat().st_size} bytes, example is sealed to {recipient}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
