"""What the vectors are made of: standard dumps, ways to break them, and expectations."""

from __future__ import annotations

import copy
import hashlib
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from hvd_format import (CHECKPOINT, CHUNK, FOOTER, INDEX, PAGE, PARTITION_END, REASONS, h, hk)
from hvd_writer import Absent, Content, DumpWriter, PartitionWriter, Repeat, Stored

ID = bytes(range(16))
OTHER_ID = bytes(range(16, 32))
SEED, OTHER_SEED = b"\x07" * 32, b"\x08" * 32  # the agent's, and an attacker's
KEY, OTHER_KEY = bytes(range(32)), bytes(range(32, 64))

Pages = dict[int, dict]
Hook = Callable[[bytes], bytes]


def fill(n: int) -> bytes:
    """Different contents for every page."""
    return (b"page %06d hvdump!\n" % n * 256)[:PAGE]


# Chunks of two pages: kernel {2, 5}, kernel {6, 9}, user {3}. Page 8 and segment 1 are holes.
STANDARD: dict[int, Content] = {
    0: Absent(0), 1: Absent(5), 2: Stored(0, fill(2)), 3: Stored(1, fill(3)), 4: Repeat(2), 5: Stored(0, fill(5)),
    6: Stored(0, fill(6)), 7: Absent(2), 9: Stored(0, fill(9))}
FIRST, SECOND, USER = (2, 4, 5), (6, 9), (3,)  # the pages that need chunk 0, 1, 2


def stored(data: bytes) -> dict:
    return {"state": "stored", "sha256": hashlib.sha256(data).hexdigest()}


def expected(pages: dict[int, Content], segment: int = 0) -> Pages:
    out: Pages = {}
    for n, page in pages.items():
        source = pages[page.source] if isinstance(page, Repeat) else page
        reason = "" if isinstance(source, Stored) else REASONS[source.reason]
        out[segment * 16384 + n] = stored(source.data) if isinstance(source, Stored) else {
            "state": reason if reason == "zero" else f"absent:{reason}"}
    return out


def normal() -> Pages:
    return expected(STANDARD) | {8: {"state": "hole"}, 16384: {"state": "hole"}}


def become(pages: Pages, which: tuple[int, ...] | None, *states: str, keep: bool = False) -> Pages:
    """Give pages (None: all) other states; `keep` leaves the true one as an outcome too."""
    out = copy.deepcopy(pages)
    for n in out if which is None else which:
        page = out.setdefault(n, {"state": []})
        old = page["state"] if isinstance(page["state"], list) else [page["state"]]
        new = list(dict.fromkeys((old if keep else []) + list(states)))
        page["state"] = new if len(new) > 1 else new[0]
        if "stored" not in new:
            page.pop("sha256", None)
    return out


def doubtful(pages: Pages, which: tuple[int, ...] | None = None) -> Pages:
    """The truth or no contents at all, but never other contents."""
    return become(pages, which, "damaged", "unknown", keep=True)


def map_lost(pages: Pages) -> Pages:
    """Only chunks can still tell of segment 0; nothing may pass for zero, absent or a hole."""
    by_chunk = tuple(n for n in (2, 3, 5, 6, 9) if n in pages)
    others = tuple(n for n in pages if n < 16384 and n not in by_chunk)
    out = become(doubtful(pages, by_chunk), others, "damaged", "unknown")
    return become(out, tuple(n for n in pages if n >= 16384), "unknown", keep=True)


def part(name: str = "example", state: str = "captured", sealed: bool = False, pages: Pages | None = None) -> dict:
    return {"name": name, "state": state, "sealed": sealed,
            "pages": {str(n): page for n, page in (normal() if pages is None else pages).items()}}


@dataclass
class Vector:
    """A dump and its outcome; None leaves a member out of the comparison."""
    data: bytes
    why: str
    open: str = "ok"
    complete: bool | None = True
    verify: str | None = "good"
    damage: bool | None = None
    partitions: list[dict] | None = field(default_factory=lambda: [part()])
    key: bytes | None = None
    identity: str | None = None  # text of an age identity file

    def expectation(self) -> dict:
        members = {"open": self.open, "complete": self.complete, "verify": self.verify, "damage": self.damage,
                   "partitions": self.partitions}
        if self.open == "refused":
            members = {"open": "refused"}
        return {"why": self.why, "key": self.key.hex() if self.key else None} | {
            name: value for name, value in members.items() if value is not None}


Vectors = Iterator[tuple[str, Vector]]


def on(name: str, change: Hook, nth: int = 0) -> Callable[[str, bytes], bytes]:
    """A writer's hook that changes the nth piece of that name."""
    calls = 0

    def hook(what: str, data: bytes) -> bytes:
        nonlocal calls
        if what != name:
            return data
        calls += 1
        return change(data) if calls == nth + 1 else data
    return hook


def put(layout: str, at: int, *values: int) -> Hook:
    """A change that overwrites fields."""
    def change(data: bytes) -> bytes:
        out = bytearray(data)
        struct.pack_into("<" + layout, out, at if at >= 0 else len(out) + at, *values)
        return bytes(out)
    return change


def writer(hook: Callable[[str, bytes], bytes] | None = None, **options: object) -> DumpWriter:
    dump = DumpWriter(options.pop("dump_id", ID), options.pop("seed", SEED), **options)
    dump.hook = hook or dump.hook
    dump.dump()
    return dump


def partition(dump: DumpWriter, number: int = 0, name: str = "example", key: bytes | None = None,
              pages: dict[int, Content] | None = None, slots: list[bytes] | None = None, codec: int = 0,
              chunk_pages: int = 2, **options: object) -> PartitionWriter:
    """Everything of a standard partition but its end."""
    out = PartitionWriter(dump, number, name, key=key, codec=codec, pack_codec=2, chunk_pages=chunk_pages, **options)
    out.start(slots)
    out.facts([[0, 10 * PAGE]])
    out.note(0, 0, b"VMCOREINFO", b"OSRELEASE=6.1.0\n")
    out.registers(0, 0, [1, None, 3])
    out.segment(0, STANDARD if pages is None else pages)
    return out


def standard(hook: Callable[[str, bytes], bytes] | None = None, key: bytes | None = None, name: str | None = None,
             **options: object) -> bytes:
    """The dump most vectors start from."""
    own = {n: options.pop(n) for n in ("dump_id", "seed", "checkpoint_every", "header") if n in options}
    dump = writer(hook, **own)
    partition(dump, key=key, name=name or ("secret" if key else "example"), **options).end()
    return dump.finish()


def secret(state: str = "captured", pages: Pages | None = None) -> list[dict]:
    return [part("secret", state, True, pages)]


@dataclass
class Found:
    offset: int
    kind: int
    flags: int
    partition: int
    size: int
    number: int
    sequence: int

    @property
    def end(self) -> int:
        return self.offset + 48 + (self.size + 7) // 8 * 8


def records(data: bytes) -> list[Found]:
    out, at = [], 128
    while at < len(data):
        out.append(Found(at, *struct.unpack_from("<HHIIQQ", data, at + 4)))
        at = out[-1].end
    return out


def find(data: bytes, kind: int, sequence: int | None = None, owner: int | None = None) -> Found:
    return next(r for r in records(data) if r.kind == kind and sequence in (None, r.sequence)
                and owner in (None, r.partition))


def flip(data: bytes, at: int, mask: int = 1) -> bytes:
    return data[:at] + bytes([data[at] ^ mask]) + data[at + 1:]


def recheck(data: bytes, at: int) -> bytes:
    """Give a changed record a right check again, as anybody can who knows the dump id."""
    size, = struct.unpack_from("<I", data, at + 12)
    leaf = hk(data[16:32], data[at:at + 32] + h(data[at + 48:at + 48 + size]))
    return data[:at + 32] + leaf[:16] + data[at + 48:]


@dataclass
class Loose:
    """A record taken out of a dump, to be signed again elsewhere."""
    kind: int
    flags: int
    partition: int
    sequence: int
    payload: bytes


def forge(data: bytes, edit: Callable[[list[Loose]], list[Loose]], seed: bytes = SEED) -> bytes:
    """Sign a changed dump again. The attacker has the agent's signing key, or one of his own, but no partition key."""
    loose = [Loose(r.kind, r.flags, r.partition, r.sequence, data[r.offset + 48:r.offset + 48 + r.size])
             for r in records(data) if r.kind not in (CHECKPOINT, INDEX, FOOTER)]
    dump = DumpWriter(data[16:32], seed)
    for r in edit(loose):
        dump.record(r.kind, r.partition, r.sequence, r.payload, r.flags)
        if r.kind == PARTITION_END:
            dump.checkpoint()
    return dump.finish()


def chunk_number(loose: list[Loose], sequence: int) -> int:
    return next(n for n, r in enumerate(loose) if r.kind == CHUNK and r.sequence == sequence)
