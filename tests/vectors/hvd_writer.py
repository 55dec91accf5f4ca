"""A small writer of .hvd dumps, from formats/hvd/SPEC.md alone, which can also break every rule on purpose.

Ids, keys and the signing seed come from the caller, so that the same calls give the same bytes.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from dataclasses import dataclass, field

import lz4.block
import nacl.signing
import zstandard

from hvd_format import (CHECKPOINT, CHUNK, CLASSES, DUMP, FACTS, FILE_MAGIC, FOOTER, INDEX, KEY_SLOT, MAP, MAP_INDEX,
                        NOBODY, NOTE, PARTITION, PARTITION_END, RECORD_MAGIC, REGISTERS, SEALABLE, SEGMENT_PAGES,
                        SUITE, SUMMARY, X86_64, commitment, derive, gcm_seal, h, hk)

UNCOVERED = (CHECKPOINT, FOOTER)


def to_json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def compress(codec: int, data: bytes, always: bool = True) -> tuple[int, bytes]:
    """Codec and data; not `always`: codec 0 unless a part in 32 is saved, as writers SHOULD do."""
    out = data
    if codec == 1:
        out = lz4.block.compress(data, store_size=False)
    elif codec == 2:
        out = zstandard.ZstdCompressor(level=1).compress(data)
    if not always and len(out) > len(data) - len(data) // 32:
        return 0, data
    return codec, out


class DumpWriter:
    def __init__(self, dump_id: bytes, seed: bytes, created_ns: int = 10**18, checkpoint_every: int = 1024,
                 header: Callable[[bytearray], None] = lambda head: None) -> None:
        self.id, self.key = dump_id, nacl.signing.SigningKey(seed)
        self.every = checkpoint_every
        head = bytearray(struct.pack("<8sHHI16s32sQI36x", FILE_MAGIC, 1, 0, 128, dump_id,
                                     bytes(self.key.verify_key), created_ns, SUITE))
        header(head)
        self.data = head + h(bytes(head))[:16]
        self.bound = h(bytes(self.data))  # what seals are bound to
        self.node, self.number, self.open_leaves = self.bound, 0, []
        self.first_open, self.entries = 0, []
        self.sizes: dict[int, int] = {}  # of each partition's records so far
        self.last_checkpoint = 0
        # Breaks the rules: called with a piece's name and its bytes before they are packed, sealed or hashed.
        self.hook: Callable[[str, bytes], bytes] = lambda what, data: data

    def hk(self, data: bytes) -> bytes:
        return hk(self.id, data)

    def record(self, kind: int, partition: int, sequence: int, payload: bytes, flags: int = 0) -> int:
        """Append a record and return its offset."""
        if kind not in UNCOVERED and len(self.open_leaves) >= self.every:
            self.checkpoint()
        offset = len(self.data)
        flags |= int(kind <= FOOTER)  # critical, as all types that this version defines
        head = RECORD_MAGIC + struct.pack("<HHIIQQ", kind, flags, partition, len(payload), self.number, sequence)
        leaf = self.hk(head + h(payload))
        self.data += head + leaf[:16] + payload + bytes(-len(payload) % 8)
        self.sizes[partition] = self.sizes.get(partition, 0) + len(self.data) - offset
        self.number += 1
        if kind not in UNCOVERED:
            self.open_leaves.append(leaf)
        if kind not in (CHUNK, MAP):
            self.entries.append((kind, partition, sequence, offset))
        return offset

    def checkpoint(self) -> None:
        first = self.first_open
        body = struct.pack("<QII", first, len(self.open_leaves), 0) + self.node + b"".join(self.open_leaves)
        body = self.hook("checkpoint", body)
        self.node, self.open_leaves = self.hk(body), []
        signature = self.key.sign(b"hvdump checkpoint v1" + self.id + self.node).signature
        self.last_checkpoint = self.record(CHECKPOINT, NOBODY, first, self.hook("signed checkpoint", body + signature))
        self.first_open = self.number

    def finish(self) -> bytes:
        if self.open_leaves:
            self.checkpoint()
        entries = b"".join(struct.pack("<HHIQQ", kind, 0, *rest) for kind, *rest in self.entries)
        index = self.record(INDEX, NOBODY, 0,
                            self.hook("index", struct.pack("<II", len(self.entries), 0) + entries))
        self.checkpoint()
        fields = self.hook("footer", struct.pack("<QQQQ", index, self.last_checkpoint, self.number + 1,
                                                 len(self.data) + 176) + self.node)
        signature = self.key.sign(b"hvdump footer v1" + self.id + self.hk(fields)).signature
        self.record(FOOTER, NOBODY, 0, self.hook("signed footer", fields + signature))
        self.first_open = self.number  # For whoever appends to a complete dump.
        return bytes(self.data)

    def dump(self, about: dict | None = None) -> None:
        self.record(DUMP, NOBODY, 0, to_json(about or {"agent": "vectors"}))


@dataclass
class Stored:
    cls: int
    data: bytes


@dataclass
class Absent:
    reason: int


@dataclass
class Repeat:
    source: int


Content = Stored | Absent | Repeat


@dataclass
class PartitionWriter:
    dump: DumpWriter
    number: int
    name: str
    role: str = "guest"
    key: bytes | None = None  # sealed with it
    codec: int = 0  # of chunks
    pack_codec: int = 0
    chunk_pages: int = 2
    always_compress: bool = True  # also what does not shrink
    segments: dict[int, int] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def start(self, slots: list[bytes] | None = None, **more: object) -> None:
        said: dict = {"name": self.name, "role": self.role, "sealed": self.key is not None}
        if self.key is not None:
            said["commitments"] = {"map": commitment("map", derive(self.key, 0, b"hvd-map1"))} | {
                name: commitment(name, derive(self.key, cls, b"hvd-cls1")) for cls, name in enumerate(CLASSES)}
        text = to_json(said | more)
        self.dump.record(PARTITION, self.number, 0, self.dump.hook("partition", text))
        for n, slot in enumerate(slots or []):
            self.dump.record(KEY_SLOT, self.number, n, slot)

    def seal(self, kind: int, sequence: int, data: bytes, cls: int | None, part: int = 0, codec: int = 0,
             bound_class: int = 0) -> bytes:
        if self.key is None:
            return data
        key = derive(self.key, 0, b"hvd-map1") if cls is None else derive(self.key, cls, b"hvd-cls1")
        place = struct.pack("<HHIQ", kind, part, self.number, sequence)
        return gcm_seal(data, b"hvd1" + self.dump.bound + place + bytes([bound_class, codec, 0, 0]),
                        place[:4] + place[8:], key)

    def sealable(self, kind: int, sequence: int, payload: bytes) -> int:
        flags = 2 if self.key is not None and kind in SEALABLE else 0
        return self.dump.record(kind, self.number, sequence, payload, flags)

    def packed(self, kind: int, sequence: int, raw: bytes, what: str, cls: int | None = None) -> int:
        raw = self.dump.hook(what, raw)
        codec, data = compress(self.pack_codec, raw, self.always_compress)
        block = self.dump.hook(f"packed {what}", struct.pack("<BxxxI", codec, len(raw)) + data)
        return self.sealable(kind, sequence, self.seal(kind, sequence, block, cls))

    def facts(self, ranges: list[list], **more: object) -> int:
        return self.packed(FACTS, 0, to_json({"address_space": "physical", "ranges": ranges} | more), "facts")

    def note(self, sequence: int, kind: int, name: bytes, contents: bytes) -> int:
        self.counts["notes"] = self.counts.get("notes", 0) + 1
        return self.packed(NOTE, sequence, struct.pack("<IHH", kind, len(name), 0) + name + contents, "note", 0)

    def registers(self, sequence: int, number: int, values: list[int | None], machine: int = X86_64) -> int:
        known = sum(1 << bit for bit, value in enumerate(values) if value is not None)
        self.counts["registers"] = self.counts.get("registers", 0) + 1
        raw = struct.pack("<IHHQ", number, machine, len(values), known) + b"".join(
            (value or 0).to_bytes(8, "little") for value in values)
        return self.packed(REGISTERS, sequence, raw, "registers", 4)

    def chunk(self, segment: int, ordinal: int, cls: int, pages: dict[int, bytes]) -> int:
        sequence = segment << 16 | ordinal
        codec, data = compress(self.codec, b"".join(pages.values()), self.always_compress)
        descriptor = self.dump.hook("descriptor", struct.pack(f"<IBBH{len(pages)}H", segment, cls, codec, len(pages),
                                                              *pages))
        data = self.dump.hook("chunk data", data)
        descriptor_piece = self.seal(CHUNK, sequence, descriptor, None)
        piece = self.seal(CHUNK, sequence, data, cls, 1, descriptor[5], descriptor[4])
        self.counts["chunks"] = self.counts.get("chunks", 0) + 1
        return self.sealable(CHUNK, sequence, self.dump.hook(
            "chunk", struct.pack("<II", len(descriptor_piece), 0) + descriptor_piece + piece))

    def chunks(self, segment: int, pages: dict[int, Content]) -> list[tuple[int, int, int, int]]:
        """Write a segment's chunks, class by class, and return the map's entries."""
        entries = []
        for cls in range(256):
            own = {n: page.data for n, page in sorted(pages.items()) if isinstance(page, Stored) and page.cls == cls}
            for first in range(0, len(own), self.chunk_pages):
                part = dict(list(own.items())[first:first + self.chunk_pages])
                entries.append((self.chunk(segment, len(entries), cls, part), cls, len(part), len(entries)))
        return entries

    def map(self, segment: int, pages: dict[int, Content], entries: list[tuple[int, int, int, int]]) -> int:
        states, repeats = bytearray(SEGMENT_PAGES), b""
        for n, page in sorted(pages.items()):
            match page:
                case Stored(cls, _):
                    states[n] = 0x80 + cls
                case Absent(reason):
                    states[n] = 0x10 + reason
                case Repeat(source):
                    states[n] = 1
                    repeats += struct.pack("<HH", n, source)
        table = b"".join(struct.pack("<QBBHI", offset, cls, 0, count, ordinal)
                         for offset, cls, count, ordinal in entries)
        raw = struct.pack("<IIII", segment, len(entries), len(repeats) // 4, 0) + table + repeats + states
        self.segments[segment] = self.packed(MAP, segment, raw, "map")
        return self.segments[segment]

    def segment(self, segment: int, pages: dict[int, Content]) -> None:
        self.map(segment, pages, self.chunks(segment, pages))

    def end(self, state: str = "captured", summary: bool = True, **more: object) -> None:
        places = sorted(self.segments.items())
        blocks = [places[at:at + 4096] for at in range(0, len(places), 4096)]
        for n, block in enumerate(blocks):
            self.packed(MAP_INDEX, n, b"".join(struct.pack("<IIQ", s, 0, at) for s, at in block), "map index")
        if summary:
            self.packed(SUMMARY, 0, to_json({
                "segments": len(self.segments), "chunks": self.counts.get("chunks", 0),
                "map_index_blocks": len(blocks), "notes": self.counts.get("notes", 0),
                "registers": self.counts.get("registers", 0), "problems": []} | more), "summary")
        self.dump.record(PARTITION_END, self.number, 0, self.dump.hook("end", to_json(
            {"state": state, "reason": "", "total_bytes": 0, "stored_bytes": 0,
             "file_bytes": self.dump.sizes[self.number]})))
        self.dump.checkpoint()
