#!/usr/bin/python3
"""A second reader of .hvd dumps, written from formats/hvd/SPEC.md and envelope/SPEC.md alone.

It is here to be compared with the first one, so it prefers being plain to being fast.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import mmap
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import nacl.signing

from hvd_format import (CHECKPOINT, CHUNK, CLASSES, DUMP, FACTS, FILE_MAGIC, FOOTER, INDEX, KEY_SLOT, LIMIT, MAP,
                        MAP_INDEX, NOBODY, NOTE, PAGE, PARTITION, PARTITION_END, REASONS, RECORD_MAGIC, REGISTER_NAMES,
                        REGISTERS, SEALABLE, SEGMENT_PAGES, SUITE, SUMMARY, X86_64, Damaged, Refused, Sealed, commitment,
                        decompress, derive, gcm_open, h, hk, parse_json, unpack)

@dataclass
class Record:
    offset: int
    type: int
    flags: int
    partition: int
    number: int
    sequence: int
    payload: bytes
    leaf: bytes
    end: int

    @property
    def place(self) -> tuple[int, int, int]:
        return self.partition, self.type, self.sequence


@dataclass
class Map:
    states: bytes
    entries: list[tuple[int, int, int, int]]  # file offset, class, page count, ordinal
    repeats: dict[int, int]


@dataclass
class Page:
    state: str  # the vocabulary of README.md
    data: bytes | None = None


@dataclass
class Partition:
    number: int
    name: str
    role: str
    sealed: bool
    commitments: dict = field(default_factory=dict)
    state: str = "incomplete"
    end: dict | None = None
    records: dict[int, dict[int, Record]] = field(default_factory=dict)
    map_key: bytes | None = None
    class_keys: dict[int, bytes] = field(default_factory=dict)
    map_offsets: dict[int, int] | None = None  # from MAP_INDEX

    def of(self, kind: int) -> dict[int, Record]:
        return self.records.get(kind, {})


class Dump:
    def __init__(self, path: Path | str, salvage: bool = False) -> None:
        with open(path, "rb") as file:
            self.size = file.seek(0, 2)
            if self.size < 128:
                raise Refused("shorter than a file header")
            self.data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.header = self.data[:128]
        magic, major, self.minor, header_size, self.id, self.signer, self.created, suite = struct.unpack_from(
            "<8sHHI16s32sQI", self.header)
        if magic != FILE_MAGIC:
            raise Refused("not an .hvd")
        if major != 1:
            raise Refused(f"format version {major} is newer than this reader")
        if header_size != 128 or self.header[112:] != h(self.header[:112])[:16]:
            raise Refused("the file header is damaged")
        if suite != SUITE:
            raise Refused(f"suite {suite} is not known to this reader")
        self.bound = h(self.header)  # what seals are bound to
        self.problems: list[str] = []
        self.cache: dict[object, object] = {}
        self.footer = self.read_footer()
        self.complete = self.footer is not None
        self.indexed = self.complete and not salvage and self.read_index()
        if not self.indexed:
            self.start()
            for record in self.scan():
                self.take(record)

    # Records

    def hk(self, data: bytes) -> bytes:
        return hk(self.id, data)

    def report(self, text: str) -> None:
        if text not in self.problems:
            self.problems.append(text)

    def record_at(self, at: int) -> Record:
        if at % 8 or at < 128 or at + 48 > self.size:
            raise Damaged("no record can stand here")
        magic, kind, flags, partition, size, number, sequence, check = struct.unpack_from("<4sHHIIQQ16s", self.data, at)
        end = at + 48 + (size + 7) // 8 * 8
        if magic != RECORD_MAGIC or size > LIMIT or end > self.size:
            raise Damaged("not a record")
        payload = self.data[at + 48:at + 48 + size]
        leaf = self.hk(self.data[at:at + 32] + h(payload))
        if check != leaf[:16] or any(self.data[at + 48 + size:end]):
            raise Damaged("the record's check or padding is wrong")
        return Record(at, kind, flags, partition, number, sequence, payload, leaf, end)

    def record_as(self, at: int, place: tuple[int, int, int]) -> Record:
        record = self.record_at(at)
        if record.place != place:
            raise Damaged(f"offset {at}: another record than the one looked for")
        return record

    def scan(self) -> Iterator[Record]:
        at, lost = 128, False
        while at < self.size:
            try:
                record = self.record_at(at)
            except Damaged as error:
                if not lost:
                    self.report(f"offset {at}: {error}")
                lost, at = True, self.data.find(RECORD_MAGIC, at + 1)
                if at < 0:
                    return
                continue  # A magic at another place than a multiple of 8 fails record_at.
            lost, at = False, record.end
            yield record

    def start(self) -> None:
        self.about: dict = {}
        self.partitions: dict[int, Partition] = {}
        self.seen: set[tuple[int, int, int]] = set()

    def take(self, record: Record) -> None:
        """Use one intact record, or say why not."""
        try:
            if record.type in (CHECKPOINT, INDEX, FOOTER):
                return  # verify() looks at these. An appended INDEX or FOOTER is no duplicate.
            owner = self.partitions.get(record.partition)
            if record.partition != NOBODY and owner is None and record.type != PARTITION:
                raise Damaged("of a partition that was not introduced")
            if record.place in self.seen:
                raise Damaged("a second record of the same partition, type and sequence")
            if not DUMP <= record.type <= FOOTER:
                if record.flags & 1:
                    for partition in [owner] if owner else self.partitions.values():
                        partition.state = "refused"
                    self.report(f"offset {record.offset}: a critical record of unknown type {record.type}")
                return
            if record.type == DUMP:
                self.about = self.about or parse_json(record.payload)
            elif record.partition == NOBODY:
                raise Damaged("of no partition")
            elif record.type == PARTITION:
                facts = parse_json(record.payload)
                if not isinstance(facts.get("name"), str):
                    raise Damaged("a partition without a name")
                self.partitions[record.partition] = Partition(
                    record.partition, facts["name"], str(facts.get("role", "")), facts.get("sealed") is not False,
                    said if isinstance(said := facts.get("commitments"), dict) else {})
            else:
                if record.type in SEALABLE and owner.sealed != bool(record.flags & 2):
                    raise Damaged("sealed or not against what its partition is")
                if record.type == PARTITION_END:
                    owner.end = parse_json(record.payload)
                    if owner.state != "refused":
                        owner.state = str(owner.end.get("state", "incomplete"))
                owner.records.setdefault(record.type, {})[record.sequence] = record
            self.seen.add(record.place)
        except Damaged as error:
            self.report(f"offset {record.offset}: {error}")

    def read_footer(self) -> dict | None:
        """Fields of a good footer, which says so itself: signed, and for a file of this size."""
        try:
            record = self.record_at(self.size - 176)
            if record.type != FOOTER or len(record.payload) != 128:
                return None
            nacl.signing.VerifyKey(self.signer).verify(
                b"hvdump footer v1" + self.id + self.hk(record.payload[:64]), record.payload[64:])
        except (Damaged, nacl.exceptions.CryptoError, ValueError):
            return None
        names = ("index_offset", "checkpoint_offset", "record_count", "file_size", "node")
        footer = dict(zip(names, struct.unpack_from("<QQQQ32s", record.payload)))
        return footer if footer["file_size"] == self.size else None

    def read_index(self) -> bool:
        """Take the records the INDEX names; False sends the caller to scan instead."""
        self.start()
        try:
            index = self.record_at(self.footer["index_offset"])
            count, = unpack("I", index.payload)
            if index.type != INDEX or len(index.payload) != 8 + 24 * count:
                raise Damaged("not an INDEX")
            for n in range(count):
                kind, partition, sequence, offset = unpack("HxxIQQ", index.payload, 8 + 24 * n)
                self.take(self.record_as(offset, (partition, kind, sequence)))
            return True
        except Damaged as error:
            self.report(f"the index cannot be used: {error}")
            return False

    # Keys

    def use_partition_key(self, partition: Partition, key: bytes) -> bool:
        """A bare key carries no name, so it counts only if it opens something of this partition."""
        partition.map_key = derive(key, 0, b"hvd-map1")
        for kind in (FACTS, MAP_INDEX, SUMMARY, MAP, CHUNK):
            for record in partition.of(kind).values():
                try:
                    self.descriptor(partition, record) if kind == CHUNK else self.packed(partition, record)
                except Damaged:
                    continue
                class_keys = {c: derive(key, c, b"hvd-cls1") for c in range(len(CLASSES))}
                if self.committed(partition, partition.map_key, class_keys):
                    partition.class_keys = class_keys
                    return True
        partition.map_key = None
        return False

    def use_identity(self, partition: Partition, identity: Path) -> bool:
        for record in partition.of(KEY_SLOT).values():
            try:
                label_size, = unpack("H", record.payload)
                done = subprocess.run(["age", "-d", "-i", str(identity)], input=record.payload[2 + label_size:],
                                      capture_output=True, check=False)
                if done.returncode == 0:
                    self.use_key_text(partition, done.stdout)
                    return True
            except Damaged as error:
                self.report(f"offset {record.offset}: key slot: {error}")
        return False

    def use_key_text(self, partition: Partition, text: bytes) -> None:
        lines = text.decode("ascii", "replace").split("\n")
        if lines[0] != "hvdump-keys/1" or lines[-1]:
            raise Damaged("not a key text")
        place, map_key, class_keys = {}, None, {}

        def key_of(digits: str) -> bytes:
            if len(digits) != 64:
                raise Damaged("a key of another size")
            return bytes.fromhex(digits)
        try:
            for line in lines[1:-1]:
                match line.split(" "):
                    case ["dump" | "partition" as word, value]:
                        place[word] = value
                    case ["partition-key", value]:
                        key = key_of(value)
                        map_key = derive(key, 0, b"hvd-map1")
                        class_keys = {c: derive(key, c, b"hvd-cls1") for c in range(len(CLASSES))}
                    case ["map-key", value]:
                        map_key = key_of(value)
                    case ["class-key", name, value]:
                        class_keys[CLASSES.index(name)] = key_of(value)
                    case _:
                        raise Damaged(f"a line this reader does not know: {line[:12]!r}")
        except ValueError:
            raise Damaged("a key text with a bad value") from None
        if place != {"dump": self.id.hex(), "partition": str(partition.number)} or map_key is None:
            raise Damaged("a key text for another place, or without a key")
        if not self.committed(partition, map_key, class_keys):
            raise Damaged("a key that the partition does not commit to")
        partition.map_key, partition.class_keys = map_key, class_keys

    @staticmethod
    def committed(partition: Partition, map_key: bytes, class_keys: dict[int, bytes]) -> bool:
        keys = {"map": map_key} | {CLASSES[cls]: key for cls, key in class_keys.items()}
        return all(partition.commitments.get(name) == commitment(name, key) for name, key in keys.items())

    # Pieces

    def open_piece(self, record: Record, key: bytes | None, sealed: bytes, part: int = 0, cls: int = 0,
                   codec: int = 0) -> bytes:
        if key is None:
            raise Sealed
        if len(sealed) < 16:
            raise Damaged(f"offset {record.offset}: too short for a seal")
        place = struct.pack("<HHIQ", record.type, part, record.partition, record.sequence)
        try:
            return gcm_open(sealed, b"hvd1" + self.bound + place + bytes([cls, codec, 0, 0]), place[:4] + place[8:], key)
        except Damaged as error:
            raise Damaged(f"offset {record.offset}: {error}") from None

    def packed(self, partition: Partition, record: Record) -> bytes:
        body = record.payload
        if partition.sealed:
            cls = {NOTE: 0, REGISTERS: 4}.get(record.type)
            key = partition.map_key if cls is None else partition.class_keys.get(cls)
            body = self.open_piece(record, key, body)
        codec, size = unpack("BxxxI", body)
        if size > LIMIT:
            raise Damaged("raw_size beyond the limit")
        return decompress(codec, body[8:], size)

    def descriptor(self, partition: Partition, record: Record) -> tuple[int, int, list[int], bytes]:
        """Class, codec, the pages' numbers within the segment, and the data still sealed."""
        size, = unpack("I", record.payload)
        text, data = record.payload[8:8 + size], record.payload[8 + size:]
        if len(text) != size:
            raise Damaged("descriptor beyond the chunk")
        if partition.sealed:
            text = self.open_piece(record, partition.map_key, text)
        segment, cls, codec, count = unpack("IBBH", text)
        if not 1 <= count <= 256 or len(text) != 8 + 2 * count:
            raise Damaged("descriptor of a wrong size")
        pages = list(unpack(f"{count}H", text, 8))
        rising = all(a < b for a, b in zip(pages, pages[1:]))
        if segment != record.sequence >> 16 or cls >= len(CLASSES) or not rising or pages[-1] >= SEGMENT_PAGES:
            raise Damaged("descriptor out of range")
        return cls, codec, pages, data

    def contents(self, partition: Partition, record: Record) -> bytes:
        if record.offset not in self.cache:
            cls, codec, pages, data = self.descriptor(partition, record)
            if partition.sealed:
                data = self.open_piece(record, partition.class_keys.get(cls), data, 1, cls, codec)
            self.cache[record.offset] = decompress(codec, data, len(pages) * PAGE)
        return self.cache[record.offset]

    def json_of(self, partition: Partition, kind: int) -> dict | None:
        record = partition.of(kind).get(0)
        return None if record is None else parse_json(self.packed(partition, record))

    def facts(self, partition: Partition) -> dict | None:
        return self.json_of(partition, FACTS)

    def notes(self, partition: Partition) -> Iterator[tuple[int, bytes, bytes]]:
        for record in partition.of(NOTE).values():
            raw = self.packed(partition, record)
            kind, size = unpack("IHxx", raw)
            if len(raw) < 8 + size:
                raise Damaged("note name beyond its end")
            yield kind, raw[8:8 + size], raw[8 + size:]

    def registers(self, partition: Partition) -> Iterator[tuple[int, dict[str, int]]]:
        """Per vCPU the values that were captured; ones appended by later versions are not named here."""
        for record in partition.of(REGISTERS).values():
            raw = self.packed(partition, record)
            number, machine, count, known = unpack("IHHQ", raw)
            if len(raw) != 16 + 8 * count:
                raise Damaged("register set of a wrong size")
            if machine != X86_64:
                self.report(f"offset {record.offset}: registers of an unknown machine, {machine}")
                continue
            values = unpack(f"{count}Q", raw, 16)
            yield number, {name: value for bit, (name, value) in enumerate(zip(REGISTER_NAMES, values))
                           if known >> bit & 1}

    # Memory

    def maps(self, partition: Partition) -> dict[int, int]:
        """Segment to offset of its MAP record (-1: known to exist, not found)."""
        if partition.map_offsets is None:
            found: dict[int, int] = {}
            for record in partition.of(MAP_INDEX).values():
                try:
                    raw = self.packed(partition, record)
                    entries = [unpack("IxxxxQ", raw, at) for at in range(0, len(raw), 16)]
                    segments = [segment for segment, _ in entries]
                    if len(entries) > 4096 or segments != sorted(set(segments)):
                        raise Damaged("entries too many or out of order")
                    found |= dict(entries) if self.indexed else dict.fromkeys(segments, -1)
                except Damaged as error:
                    self.report(f"offset {record.offset}: map index: {error}")
            partition.map_offsets = found | {s: record.offset for s, record in partition.of(MAP).items()}
        return partition.map_offsets

    def map_of(self, partition: Partition, segment: int, offset: int) -> Map:
        key = ("map", partition.number, segment)
        if key not in self.cache:
            record = self.record_as(offset, (partition.number, MAP, segment))
            if partition.sealed != bool(record.flags & 2):
                raise Damaged("sealed or not against what its partition is")
            self.cache[key] = self.parse_map(self.packed(partition, record), segment)
        return self.cache[key]

    @staticmethod
    def parse_map(raw: bytes, segment: int) -> Map:
        own, chunks, repeats = unpack("III", raw)
        if own != segment or len(raw) != 16 + 16 * chunks + 4 * repeats + SEGMENT_PAGES:
            raise Damaged("map of another segment or size")
        entries = [unpack("QBxHI", raw, 16 + 16 * n) for n in range(chunks)]
        pairs = [unpack("HH", raw, 16 + 16 * chunks + 4 * n) for n in range(repeats)]
        states, sources = raw[-SEGMENT_PAGES:], dict(pairs)
        good = {0, 1, *range(0x10, 0x10 + len(REASONS)), *range(0x80, 0x80 + len(CLASSES))}
        if not set(states) <= good:
            raise Damaged("a page state this reader does not know")
        if len(sources) != repeats or {n for n, state in enumerate(states) if state == 1} != set(sources):
            raise Damaged("repeat entries do not match the states")
        if any(source >= SEGMENT_PAGES or states[source] < 0x80 for source in sources.values()):
            raise Damaged("a repeat of a page that is not stored")
        for cls in range(256):
            if sum(n for _, c, n, _ in entries if c == cls) != (states.count(0x80 + cls) if cls < 128 else 0):
                raise Damaged("states and chunks do not agree")
        return Map(states, entries, sources)

    def has_all_maps(self, partition: Partition) -> bool:
        """Whether a segment without a map is known to be a hole."""
        if partition.end is None or partition.state in ("incomplete", "failed"):
            return False
        try:
            return (self.json_of(partition, SUMMARY) or {}).get("segments") == len(self.maps(partition))
        except Damaged:
            return False

    def check_totals(self, partition: Partition) -> None:
        """Report what was cut out, or put in, after the writer counted it."""
        if partition.sealed and partition.map_key is None or partition.end is None:
            return
        try:
            summary = self.json_of(partition, SUMMARY)
            if summary is None:
                raise Damaged("an ended partition without its totals")
            have = {"segments": len(self.maps(partition)), "map_index_blocks": len(partition.of(MAP_INDEX)),
                    "notes": len(partition.of(NOTE)), "registers": len(partition.of(REGISTERS)), "chunks": sum(
                        len(self.map_of(partition, *place).entries) for place in self.maps(partition).items())}
            for name, count in have.items():
                if summary.get(name) != count:
                    raise Damaged(f"{count} {name} where {summary.get(name)} were written")
        except Damaged as error:
            self.report(f"{partition.name}: {error}")

    def page(self, partition: Partition, number: int) -> Page:
        segment, index = divmod(number, SEGMENT_PAGES)
        if partition.state == "refused":
            return Page("unknown")
        if partition.sealed and partition.map_key is None:
            return Page("sealed")
        maps = self.maps(partition)
        if segment not in maps and (self.indexed or not self.by_descriptor(partition, segment)):
            return Page("hole" if self.has_all_maps(partition) else "unknown")
        try:
            found = self.map_of(partition, segment, maps.get(segment, -1))
        except Damaged as error:
            self.report(f"{partition.name}: map of segment {segment}: {error}")
            if self.indexed:
                return Page("damaged")
            place = self.by_descriptor(partition, segment).get(index)
            return self.stored(partition, *place, index) if place else Page("unknown")
        index = found.repeats.get(index, index)
        state = found.states[index]
        if state == 0:
            return Page("hole")
        if state == 0x10:
            return Page("zero", bytes(PAGE))
        if state < 0x80:
            return Page(f"absent:{REASONS[state - 0x10]}")
        before = found.states[:index].count(state)
        for offset, cls, count, ordinal in found.entries:
            if cls == state - 0x80 and before < count:
                break
            before -= count if cls == state - 0x80 else 0
        sequence = segment << 16 | ordinal
        try:
            if self.indexed:
                record = self.record_as(offset, (partition.number, CHUNK, sequence))
                if partition.sealed != bool(record.flags & 2):
                    raise Damaged("sealed or not against what its partition is")
            elif sequence in partition.of(CHUNK):
                record = partition.of(CHUNK)[sequence]
            else:
                raise Damaged("the chunk is lost")
            if self.descriptor(partition, record)[0] != cls:
                raise Damaged("a chunk of another class than its map says")
        except Damaged as error:
            self.report(f"{partition.name}: page {number}: {error}")
            return Page("damaged")
        return self.stored(partition, record, before, index)

    def stored(self, partition: Partition, record: Record, position: int, index: int) -> Page:
        try:
            pages = self.descriptor(partition, record)[2]
            if position >= len(pages) or pages[position] != index:
                raise Damaged("the chunk holds other pages than its map says")
            return Page("stored", self.contents(partition, record)[position * PAGE:(position + 1) * PAGE])
        except Sealed:
            return Page("sealed")
        except Damaged as error:
            self.report(f"{partition.name}: offset {record.offset}: {error}")
            return Page("damaged")

    def by_descriptor(self, partition: Partition, segment: int) -> dict[int, tuple[Record, int]]:
        """What the chunks of a segment without its map say about it."""
        key = ("chunks", partition.number, segment)
        if key not in self.cache:
            self.cache[key] = places = {}
            for sequence, record in partition.of(CHUNK).items():
                if sequence >> 16 == segment:
                    try:
                        for position, index in enumerate(self.descriptor(partition, record)[2]):
                            places.setdefault(index, (record, position))
                    except Damaged as error:
                        self.report(f"offset {record.offset}: {error}")
        return self.cache[key]

    def pages(self, partition: Partition) -> Iterator[tuple[int, Page]]:
        """Every page that is something but hole or unknown."""
        segments = set(self.maps(partition)) | {s >> 16 for s in partition.of(CHUNK)}
        for segment in sorted(segments):
            for number in range(segment * SEGMENT_PAGES, (segment + 1) * SEGMENT_PAGES):
                page = self.page(partition, number)
                if page.state not in ("hole", "unknown"):
                    yield number, page


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=["list", "pages", "memory", "verify"])
    parser.add_argument("dump", type=Path)
    parser.add_argument("partition", nargs="?", help="its name or number")
    parser.add_argument("--identity", type=Path)
    parser.add_argument("--partition-key", type=bytes.fromhex)
    parser.add_argument("--salvage", action="store_true", help="ignore the footer and read front to back")
    parser.add_argument("-o", dest="output", type=Path)
    args = parser.parse_args()
    import hvd_verify  # Here, since it is written on top of this module.
    try:
        dump = Dump(args.dump, args.salvage)
    except (Refused, OSError) as error:
        print(f"{args.dump}: {error}", file=sys.stderr)
        return 1
    for partition in dump.partitions.values():
        if args.partition_key and partition.sealed:
            dump.use_partition_key(partition, args.partition_key)
        elif args.identity and partition.sealed:
            dump.use_identity(partition, args.identity)
    chosen = [p for p in dump.partitions.values() if args.partition in (p.name, str(p.number))]
    if args.command == "list":
        print(f"dump {dump.id.hex()} signer {dump.signer.hex()} complete {dump.complete} {json.dumps(dump.about)}")
        for p in dump.partitions.values():
            print(f"{p.number} {p.name} {p.role} {p.state} {'sealed' if p.sealed else 'clear'}"
                  f" slots {len(p.of(KEY_SLOT))}")
    elif args.command == "verify":
        bad = hvd_verify.problems(dump)
        print("\n".join(bad) or f"good, signed by {dump.signer.hex()}")
        return 1 if bad else 0
    elif not chosen:
        parser.error("which partition?")
    elif args.command == "pages":
        for number, page in dump.pages(chosen[0]):
            digest = hashlib.sha256(page.data).hexdigest() if page.data is not None else "-"
            print(number, page.state, digest)
    elif args.output is None:
        parser.error("memory needs -o FILE")
    else:
        with open(args.output, "wb") as out:
            for number, page in dump.pages(chosen[0]):
                if page.state == "stored":
                    out.seek(number * PAGE)
                    out.write(page.data)
    for partition in dump.partitions.values():
        dump.check_totals(partition)
    for problem in dump.problems:
        print(f"problem: {problem}", file=sys.stderr)
    return 3 if dump.problems else 0


if __name__ == "__main__":
    sys.exit(main())
