"""Rules broken by a writer, in dumps that are signed rightly: each reader has to notice by itself."""

from __future__ import annotations

import struct
from collections.abc import Callable

import lz4.block
import zstandard

from hvd_format import CHUNK, KEY_SLOT, MAP, NOBODY, NOTE, PAGE, PARTITION, PARTITION_END, REGISTERS
from hvd_writer import PartitionWriter, Stored, to_json
from vector_parts import (FIRST, KEY, SEED, STANDARD, Hook, Pages, Vector, Vectors, become, doubtful, fill,
                          find, flip, forge, map_lost, normal, on, part, partition, put, secret, standard, writer)

STATES = 16 + 3 * 16 + 4  # where the states begin in the raw map of STANDARD


def maps() -> Vectors:
    def broken(change: Hook, why: str, pages: Pages, damage: bool | None = True) -> Vector:
        return Vector(standard(on("map", change)), why, damage=damage, partitions=[part(pages=pages)])

    lost = map_lost(normal() | {10: {"state": "hole"}})
    for state in (0x02, 0x19, 0x7f, 0x86, 0xff):
        yield f"map_state_{state:02x}", broken(put("B", STATES + 10, state), "a page state that is not defined", lost)
    yield "map_other_segment", broken(put("I", 0, 1), "a map that says it is of another segment", lost)
    yield "map_short", broken(lambda raw: raw[:-1], "a map one byte too short", lost)
    yield "map_long", broken(lambda raw: raw + b"\0", "a map one byte too long", lost)
    yield "map_many_chunks", broken(put("I", 4, 0xFFFFFFFF), "a chunk_count beyond the map", lost)
    yield "map_many_repeats", broken(put("I", 8, 0x80000000), "a repeat_count beyond the map", lost)
    yield "map_page_count", broken(put("H", 16 + 10, 3), "states and chunks count differently", lost)
    yield "map_extra_stored", broken(put("B", STATES + 10, 0x80), "a stored page that is in no chunk", lost)

    def repeats(*pairs: tuple[int, int], **states: int) -> Hook:
        def change(raw: bytes) -> bytes:
            out = bytearray(raw[-16384:])
            for page, state in states.items():
                out[int(page[1:])] = state
            table = b"".join(struct.pack("<HH", *pair) for pair in pairs)
            return raw[:8] + struct.pack("<II", len(pairs), 0) + raw[16:64] + table + out
        return change

    def repeat(change: Hook, why: str, page: int = 10) -> Vector:
        return broken(change, why, become(doubtful(normal() | {10: {"state": "hole"}}), (page,), "damaged", "unknown"))

    yield "repeat_of_repeat", repeat(repeats((4, 2), (10, 4), p10=1), "a repeat of a repeat")
    yield "repeat_of_itself", repeat(repeats((4, 2), (10, 10), p10=1), "a repeat of itself")
    yield "repeat_of_absent", repeat(repeats((4, 2), (10, 1), p10=1), "a repeat of an absent page")
    yield "repeat_of_zero", repeat(repeats((4, 2), (10, 0), p10=1), "a repeat of a zero page, which is not stored")
    yield "repeat_beyond", repeat(repeats((4, 2), (10, 16384), p10=1), "a repeat of a page beyond the segment")
    yield "repeat_unexplained", repeat(repeats((4, 2), p10=1), "a repeat without its entry")
    yield "repeat_twice", repeat(repeats((4, 2), (4, 3)), "a repeat with two entries", 4)
    yield "repeat_of_page_beyond", broken(repeats((4, 2), (20000, 2)), "an entry for a page beyond the segment",
                                          doubtful(normal()), None)
    yield "repeat_of_stored", broken(repeats((4, 2), (5, 2)), "an entry for a page that is stored itself",
                                     doubtful(normal()), None)

    def entry(first: bytes) -> Hook:
        return lambda raw: raw[:16] + first + raw[16 + len(first):]

    doubt = doubtful(normal())
    yield "map_offset_swapped", Vector(standard(on("map", lambda raw: raw[:16] + raw[32:40] + raw[24:32] + raw[16:24]
                                                   + raw[40:])),
                                       "two entries have each other's offsets", partitions=[part(pages=doubt)])
    for name, offset in {"huge": 2**64 - 8, "beyond": 2**40, "unaligned": 129, "header": 0, "itself": 128}.items():
        yield f"map_offset_{name}", broken(entry(struct.pack("<Q", offset)), f"a chunk's offset of {offset}",
                                            doubt, None)
    yield "map_ordinal", broken(put("I", 16 + 12, 9), "an ordinal that is not its chunk's", doubt, None)
    yield "map_entry_class", broken(put("B", 16 + 8, 6), "an entry of a class that is not defined", lost)

    def regroup(raw: bytes) -> bytes:
        """Pages 6 and 9 and their chunk become `user` in the map; their chunk still says kernel."""
        out = bytearray(raw)
        out[STATES + 6] = out[STATES + 9] = 0x81
        out[32 + 8] = 1
        return bytes(out)
    yield "map_class_differs", broken(regroup, "map and descriptor differ about a class", doubt, None)

    dump = writer()
    partition(dump, 0, "other", pages={n: Stored(0, b"evil" * 1024) for n in (2, 5)})
    dump.hook = on("map", put("Q", 16, find(bytes(dump.data), CHUNK).offset))
    partition(dump, 1).end()
    yield "map_offset_other_partition", Vector(
        dump.finish(), "an entry that names another partition's chunk of the same pages",
        partitions=[part("other", "incomplete", pages={}), part(pages=doubt)])

    def shifted(raw: bytes) -> bytes:
        """Page 10 is stored in place of page 9; the chunk still says 9."""
        out = bytearray(raw)
        out[STATES + 9], out[STATES + 10] = 0, 0x80
        return bytes(out)
    moved = doubtful({n: p for n, p in normal().items() if n != 9}) | {10: {"state": ["damaged", "unknown"]}}
    yield "map_page_not_in_chunk", broken(shifted, "a stored page that its chunk does not hold", moved)
    yield "map_packed_size", Vector(standard(on("packed map", put("I", 4, 16451))), "a map of another raw_size",
                                    damage=True, partitions=[part(pages=map_lost(normal()))])
    yield "map_packed_limit", Vector(standard(on("packed map", put("I", 4, 0x01000001))), "a raw_size beyond the limit",
                                     damage=True, partitions=[part(pages=map_lost(normal()))])
    yield "map_packed_codec", Vector(standard(on("packed map", put("B", 0, 3))), "a map in a codec not defined",
                                     damage=True, partitions=[part(pages=map_lost(normal()))])
    bomb = zstandard.ZstdCompressor().compress(bytes(64 << 20))
    yield "map_packed_bomb", Vector(standard(on("packed map", lambda block: block[:8] + bomb)),
                                    "a map that decompresses to far more than raw_size", damage=True,
                                    partitions=[part(pages=map_lost(normal()))])
    yield "map_packed_stub", Vector(standard(on("packed map", lambda block: block[:5])), "a packed block cut short",
                                    damage=True, partitions=[part(pages=map_lost(normal()))])
    both = [part(pages=doubtful(normal() | {16384: {"state": "zero"}}))]
    yield "map_index_order", Vector(two_segments(on("map index", lambda raw: raw[16:] + raw[:16])),
                                    "map index entries out of order", partitions=both)
    yield "map_index_wrong", Vector(two_segments(on("map index", lambda raw: raw[:8] + raw[24:32] + raw[16:])),
                                    "a map index entry that names another segment's map",
                                    partitions=both)


def two_segments(hook: Callable[[str, bytes], bytes]) -> bytes:
    dump = writer(hook)
    out = partition(dump)
    out.segment(1, {0: STANDARD[0]})
    out.end()
    return dump.finish()


def chunks() -> Vectors:
    bad = become(normal(), FIRST, "damaged")

    def broken(what: str, change: Hook, why: str, key: bytes | None = None, codec: int = 0) -> Vector:
        return Vector(standard(on(what, change), key, codec=codec), why, damage=True, key=key,
                      partitions=secret(pages=bad) if key else [part(pages=bad)])

    edits = {"segment": (put("I", 0, 1), "a segment that is not its sequence's"),
             "class": (put("B", 4, 6), "a class that is not defined"),
             "count_zero": (put("H", 6, 0), "no page at all"),
             "count_large": (put("H", 6, 3), "more pages than the descriptor lists"),
             "order": (put("HH", 8, 5, 2), "pages out of order"),
             "twice": (put("HH", 8, 2, 2), "one page twice"),
             "beyond": (put("HH", 8, 2, 16384), "a page beyond the segment"),
             "codec": (put("B", 5, 3), "a codec that is not defined"),
             "other_codec": (put("B", 5, 1), "a codec the data is not in")}
    for name, (change, why) in edits.items():
        yield f"descriptor_{name}", broken("descriptor", change, why)
        yield f"descriptor_sealed_{name}", broken("descriptor", change, f"{why}; sealed", KEY)
        data = standard(on("descriptor", change))
        yield f"descriptor_torn_{name}", Vector(
            data[:find(data, MAP).offset], f"{why}; and no map", complete=False, verify="bad", damage=True,
            partitions=[part(state="incomplete", pages=become(become(normal(), None, "unknown") | {
                n: normal()[n] for n in (3, 6, 9)}, (2, 5), "unknown", "damaged"))])
    for name, size in (("zero", 0), ("beyond", 2 * PAGE + 13), ("huge", 0xFFFFFFFF)):
        yield f"descriptor_size_{name}", broken("chunk", put("I", 0, size), f"a descriptor_size of {size}")
    yield "chunk_stub", broken("chunk", lambda payload: payload[:4], "a payload shorter than its fixed part")
    yield "chunk_empty", broken("chunk", lambda payload: b"", "no payload")

    three = {n: fill(n) for n in range(3)}
    joined = b"".join(three.values())
    for name, key in (("", None), ("_sealed", KEY)):
        yield f"data_short{name}", broken("chunk data", lambda data: data[:-1], "one byte too few", key)
        yield f"data_long{name}", broken("chunk data", lambda data: data + bytes(PAGE), "one page too many", key)
    for name, codec, pack in (("lz4", 1, lambda data: lz4.block.compress(data, store_size=False)),
                              ("zstd", 2, lambda data: zstandard.ZstdCompressor().compress(data))):
        yield f"data_{name}_long", broken("chunk data", lambda data, pack=pack: pack(joined),
                                          "decompresses to too much", codec=codec)
        yield f"data_{name}_short", broken("chunk data", lambda data, pack=pack: pack(joined[:PAGE]),
                                           "decompresses to too little", codec=codec)
        yield f"data_{name}_cut", broken("chunk data", lambda data: data[:len(data) // 2], "compressed data cut short",
                                         codec=codec)
        yield f"data_{name}_bomb", broken("chunk data", lambda data, pack=pack: pack(bytes(12 << 20)),
                                          "decompresses to far too much", codec=codec)
    yield "data_zstd_trailing", broken("chunk data", lambda data: data + b"garbage!", "bytes behind the frame", codec=2)
    checked = zstandard.ZstdCompressor(write_checksum=True)
    yield "data_zstd_unchecked", broken(
        "chunk data", lambda data: checked.compress(zstandard.ZstdDecompressor().decompress(data))[:-4],
        "a frame without the checksum it announces", codec=2)
    big = {n: Stored(0, fill(n)) for n in range(257)}
    yield "chunk_257_pages", Vector(standard(pages=big, chunk_pages=257, codec=2), "a chunk of 257 pages", damage=True,
                                    partitions=[part(pages={n: {"state": ["damaged", "unknown"]} for n in (0, 256)})])


def sealing() -> Vectors:
    def unflag(kind: int) -> bytes:
        def edit(loose: list) -> list:
            for r in loose:
                if r.kind == kind and r.sequence == 0:
                    r.flags = 0
            return loose
        return forge(standard(key=KEY), edit, SEED)

    def stub(kind: int, change: Hook) -> bytes:
        """The dump is signed again, so it holds the shorter record; what stands behind it has moved."""
        def edit(loose: list) -> list:
            for r in loose:
                if r.kind == kind and r.sequence == 0:
                    r.payload = change(r.payload)
            return loose
        return forge(standard(key=KEY), edit, SEED)

    for size in (0, 5, 15, 16, 20):
        yield f"sealed_map_{size}_bytes", Vector(
            stub(MAP, lambda payload, size=size: payload[:size]), "a sealed piece without room for what it needs",
            damage=True, key=KEY, partitions=secret(pages=become(map_lost(normal()), (16384,), "hole", "unknown")))
        yield f"sealed_descriptor_{size}_bytes", Vector(
            stub(CHUNK, put("I", 0, size)), "a sealed descriptor without room for what it needs", damage=True, key=KEY,
            partitions=secret(pages=become(normal(), FIRST, "damaged")))
    yield "unflagged_chunk", Vector(unflag(CHUNK), "a sealed chunk without flag 2", damage=True, key=KEY,
                                    partitions=secret(pages=become(normal(), FIRST, "damaged")))
    yield "unflagged_map", Vector(unflag(MAP), "a sealed map without flag 2", damage=True, key=KEY,
                                  partitions=secret(pages=map_lost(normal())))
    yield "unflagged_registers", Vector(unflag(REGISTERS), "sealed registers without flag 2", damage=True, key=KEY,
                                        partitions=secret())

    data = standard()
    clear = find(data, CHUNK, 0)
    dump = writer()
    record = dump.record

    def in_the_clear(kind: int, owner: int, sequence: int, payload: bytes, flags: int = 0) -> int:
        if kind == CHUNK and sequence == 0:
            return record(kind, owner, 0, data[clear.offset + 48:clear.offset + 48 + clear.size])
        return record(kind, owner, sequence, payload, flags)
    dump.record = in_the_clear
    partition(dump, key=KEY, name="secret").end()
    yield "clear_chunk_in_sealed", Vector(dump.finish(), "a chunk in the clear among sealed ones", damage=True, key=KEY,
                                          partitions=secret(pages=become(normal(), FIRST, "damaged")))


def texts() -> Vectors:
    nested = b"[" * 200000 + b"]" * 200000
    bad = {"array": b"[]", "number": b"7", "empty": b"", "utf8": b'{"name":"\xff","role":"guest","sealed":false}',
           "cut": b'{"name":"example","sealed":fal', "trailing": b'{"name":"example","sealed":false} x',
           "quotes": b"{'name':'example','sealed':false}", "nan": b'{"name":"example","sealed":false,"x":NaN}'}
    for name, text in bad.items():
        yield f"json_partition_{name}", Vector(
            standard(on("partition", lambda old, text=text: text)), "a PARTITION that is no JSON object", damage=True,
            partitions=[])
    yield "json_partition_deep", Vector(
        standard(on("partition", lambda old: old[:-1] + b',"x":' + nested + b"}")),
        "JSON nested so deeply that a reader may give up on it, but not crash", partitions=None)
    yield "json_facts_deep", Vector(standard(on("facts", lambda old: old[:-1] + b',"x":' + nested + b"}")),
                                    "deep nesting in FACTS, which memory does not need")
    yield "json_facts_array", Vector(standard(on("facts", lambda old: b"[1]")), "FACTS that are no JSON object")
    yield "facts_beyond_limit", Vector(
        standard(on("facts", lambda old: old + b" " * ((16 << 20) + 1 - len(old)))),
        "a raw_size one byte beyond the limit", damage=True)
    yield "note_name_beyond", Vector(standard(on("note", put("H", 4, 0xFFFF))), "a note's name beyond its end",
                                     damage=True)
    yield "registers_beyond", Vector(standard(on("registers", put("H", 6, 0xFFFF))),
                                     "more registers than there are", damage=True)
    yield "json_end_array", Vector(
        standard(on("end", lambda old: b"[]")), "a PARTITION_END that is no JSON object ends nothing", damage=True,
        partitions=[part(state="incomplete", pages=become(normal(), (16384,), "unknown"))])
    yield "json_summary_text", Vector(standard(on("summary", lambda old: b'"x"')), "a SUMMARY that is no JSON object",
                                      damage=True,
                                      partitions=[part(pages=become(normal(), (16384,), "unknown", keep=True))])


def structure() -> Vectors:
    hole_in_doubt = [part(pages=become(normal(), (16384,), "unknown", "damaged", keep=True))]
    dump = writer()
    partition(dump).end(summary=False)
    yield "summary_missing", Vector(dump.finish(), "an ended partition without SUMMARY", damage=True,
                                    partitions=hole_in_doubt)
    for name in ("segments", "chunks", "notes", "registers", "map_index_blocks"):
        dump = writer()
        partition(dump).end(**{name: 5})
        yield f"summary_{name}", Vector(dump.finish(), f"fewer {name} than were written", damage=True,
                                        partitions=hole_in_doubt)

    refused = become(normal(), None, "unknown", "damaged")
    dump = writer()
    for number in range(2):
        out = partition(dump, number, ("example", "other")[number])
        if number == 0:
            dump.record(100, 0, 0, b"critical", flags=1)
        out.end()
    data = dump.finish()
    yield "critical_unknown", Vector(data, "an unknown critical record: the partition must not be relied on",
                                     damage=True, partitions=[part(state="refused", pages=refused), part("other")])

    dump = writer()
    dump.record(NOTE, 7, 0, b"x" * 40)
    partition(dump).end()
    yield "partition_not_introduced", Vector(dump.finish(), "a record of a partition nobody introduced", damage=True)

    dump = writer()
    out = partition(dump)
    dump.record(PARTITION, 0, 0, to_json({"name": "evil", "role": "guest", "sealed": True}))
    out.end()
    yield "duplicate_partition", Vector(dump.finish(), "a second PARTITION is not used", damage=True)
    dump = writer()
    out = partition(dump, key=KEY, name="secret")
    dump.record(PARTITION, 0, 0, to_json({"name": "secret", "role": "guest", "sealed": False}))
    out.end()
    yield "duplicate_partition_clear", Vector(dump.finish(), "a second PARTITION does not make a sealed one clear",
                                              damage=True, partitions=secret(), key=KEY)
    dump = writer()
    out = partition(dump)
    first = out.segments[0]
    out.segment(0, {n: Stored(0, b"evil" * 1024) for n in range(10)})
    out.segments[0] = first
    out.end(chunks=3)
    yield "duplicate_segment", Vector(dump.finish(), "second CHUNKs and a second MAP of one segment are not used")

    dump = writer()
    out = partition(dump)
    dump.number += 3
    out.end()
    yield "number_skips", Vector(dump.finish(), "record numbers that skip some", verify="bad", damage=None)

    dump = writer()
    out = partition(dump)
    for n, step in enumerate((1, -2, 1)):  # The first two have each other's number, the third its own.
        dump.number += step
        out.note(n + 1, 0, b"", b"")
    out.end()
    yield "number_swapped", Vector(dump.finish(), "two records with each other's numbers", verify="bad")

    dump = writer()
    partition(dump).end()
    dump.record(100, NOBODY, 0, bytes((16 << 20) + 1))
    yield "record_beyond_limit", Vector(dump.finish(), "a record one byte larger than the limit", complete=None,
                                        verify="bad", damage=True)

    dump = writer()
    out = PartitionWriter(dump, 0, "example", pack_codec=2)
    out.start()
    dump.record(KEY_SLOT, 0, 0, struct.pack("<H", 0xFFFF) + b"label")
    out.facts([[0, 40960]])
    out.segment(0, STANDARD)
    out.end()
    yield "slot_label_beyond", Vector(dump.finish(), "a key slot's label beyond its end")


def signed() -> Vectors:
    """Checkpoints, index and footer."""
    def bad(what: str, change: Hook, why: str, nth: int = 0, complete: bool | None = True,
            partitions: list[dict] | None = None) -> Vector:
        return Vector(standard(on(what, change, nth)), why, complete=complete, verify="bad",
                      partitions=partitions or [part()])

    yield "checkpoint_signature", bad("signed checkpoint", lambda body: flip(body, len(body) - 1), "a bad signature")
    yield "checkpoint_previous", bad("checkpoint", lambda body: flip(body, 20),
                                     "a first checkpoint not behind this header")
    yield "checkpoint_previous_later", bad("checkpoint", lambda body: flip(body, 20),
                                           "a later one not behind the first", 1)
    yield "checkpoint_leaf", bad("checkpoint", put("Q", 48, 7), "a leaf that is not its record's")
    yield "checkpoint_first", bad("checkpoint", put("Q", 0, 1), "a first_record that is not")
    yield "checkpoint_count", bad("checkpoint", put("I", 8, 70000), "more records than it has leaves")
    yield "checkpoint_uncovered", bad("checkpoint", lambda body: put("I", 8, struct.unpack_from("<I", body, 8)[0] - 1)(
        body[:-32]), "a record no checkpoint covers")
    yield "checkpoint_stub", bad("signed checkpoint", lambda body: body[:40], "shorter than its fixed part")

    for name, at, value, complete in (("index", 0, 128, None), ("checkpoint", 8, 128, None), ("count", 16, 7, None),
                                      ("size", 24, 2**20, False), ("node", 32, 7, None)):
        yield f"footer_{name}", bad("footer", put("Q", at, value), f"a footer with a wrong {name}", complete=complete)
    yield "footer_signature", bad("signed footer", lambda body: flip(body, len(body) - 1),
                                  "a footer with a bad signature", complete=None)
    yield "footer_beyond", bad("footer", put("Q", 0, 2**64 - 8), "an index_offset beyond the file", complete=None)

    doubt = [part(pages=doubtful(normal()))]

    def entry(kind: int, change: Hook) -> Hook:
        def edit(index: bytes) -> bytes:
            at = next(at for at in range(8, len(index), 24) if index[at] == kind)
            return index[:at] + change(index[at:at + 24]) + index[at + 24:]
        return edit
    for name, offset in (("elsewhere", 128), ("beyond", 2**63), ("unaligned", 131)):
        yield f"index_map_index_{name}", bad("index", entry(9, put("Q", 16, offset)),
                                             "an entry whose record is not there", complete=None, partitions=doubt)
    dump = writer()
    partition(dump).end()
    partition(dump, 1, "other").end("failed")
    ends = [entry[3] for entry in dump.entries if entry[0] == PARTITION_END]
    dump.hook = on("index", entry(PARTITION_END, put("Q", 16, ends[1])))
    example = part(pages=doubt[0]["pages"])
    yield "index_other_partition", Vector(dump.finish(), "an entry that names another partition's end", verify="bad",
                                          complete=None, partitions=[
                                              example | {"state": ["captured", "incomplete"]},
                                              part("other", "failed", pages={0: normal()[0]})])
    yield "index_count", bad("index", put("I", 0, 0x10000000), "more entries than there are", complete=None,
                             partitions=doubt)
    yield "index_stub", bad("index", lambda index: index[:3], "an INDEX cut short", complete=None, partitions=doubt)
    yield "index_entry_missing", bad("index", lambda index: put("I", 0, len(index) // 24 - 1)(
        entry(9, lambda old: b"")(index)), "an INDEX that leaves out the map index", complete=None, partitions=doubt)


def vectors() -> Vectors:
    for group in (maps, chunks, sealing, texts, structure, signed):
        yield from group()
