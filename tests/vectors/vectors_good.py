"""Dumps that keep every rule, also ones that use what readers must ignore."""

from __future__ import annotations

import struct

from hvd_format import KEY_SLOT, NOBODY
from hvd_writer import Absent, PartitionWriter, Repeat, Stored, to_json
from vector_parts import (KEY, OTHER_KEY, STANDARD, Vector, Vectors, become, expected, fill, normal, on, part,
                          partition, put, secret, standard, writer)

SEALED = become(normal(), None, "sealed")


def plain() -> Vectors:
    yield "good_clear", Vector(standard(), "a partition in the clear", damage=False)
    yield "good_sealed", Vector(standard(key=KEY), "a sealed partition, read with its key", damage=False,
                                partitions=secret(), key=KEY)
    yield "good_sealed_no_key", Vector(standard(key=KEY), "without the key every page is sealed, also zeros and holes",
                                       damage=False, partitions=secret(pages=SEALED))
    for name, codec in (("lz4", 1), ("zstd", 2)):
        yield f"good_{name}", Vector(standard(codec=codec), f"chunks compressed with {name}", damage=False)
        yield f"good_sealed_{name}", Vector(standard(codec=codec, key=KEY), f"compressed with {name}, then sealed",
                                            damage=False, partitions=secret(), key=KEY)
    yield "good_one_checkpoint_each", Vector(standard(checkpoint_every=1), "a checkpoint behind every record",
                                             damage=False)
    yield "good_page_per_chunk", Vector(standard(chunk_pages=1), "one page in each chunk", damage=False)
    full = {n: Stored(5, fill(n)) for n in range(256)} | {300: Repeat(255)}
    yield "good_full_chunk", Vector(
        standard(pages=full, chunk_pages=256, codec=2), "256 pages in one chunk", damage=False,
        partitions=[part(pages=expected({n: full[n] for n in (0, 128, 255)} | {255: full[255], 300: full[300]}))])
    every = {n: Stored(n, fill(n)) for n in (0, 1, 2, 3, 5)} | {n + 16: Absent(n) for n in range(8)}
    yield "good_every_code", Vector(standard(pages=every), "every page class and reason", damage=False,
                                    partitions=[part(pages=expected(every))])


def shapes() -> Vectors:
    dump = writer()
    clear = PartitionWriter(dump, 0, "example", pack_codec=2)
    sealed = PartitionWriter(dump, 1, "secret", key=KEY, pack_codec=2)
    clear.start()
    sealed.start()
    clear.facts([[0, 40960]])
    sealed.facts([[0, 40960]])
    clear_chunks, sealed_chunks = clear.chunks(0, STANDARD), sealed.chunks(0, STANDARD)
    sealed.map(0, STANDARD, sealed_chunks)
    clear.map(0, STANDARD, clear_chunks)
    sealed.end()
    clear.end()
    yield "good_interleaved", Vector(dump.finish(), "records of two partitions in turn", damage=False,
                                     partitions=[part(), *secret()], key=KEY)

    dump = writer()
    for number, (name, key) in enumerate((("secret", KEY), ("other", OTHER_KEY))):
        partition(dump, number, name, key).end()
    yield "good_two_keys", Vector(
        dump.finish(), "the key of one sealed partition opens nothing of another", partitions=[
            *secret(), part("other", sealed=True, pages=become(normal(), None, "sealed", "damaged"))], key=KEY)

    dump = writer()
    empty = PartitionWriter(dump, 0, "empty", role="dump")
    empty.start()
    empty.facts([])
    empty.end("stateless")
    yield "good_empty_partition", Vector(dump.finish(), "no memory at all", damage=False, partitions=[
        part("empty", "stateless", pages={0: {"state": "hole"}})])
    yield "good_no_partition", Vector(writer().finish(), "no partition", damage=False, partitions=[])

    dump = writer()
    last = 2**32 - 1
    far = partition(dump)
    for segment in (3, last):
        far.segment(segment, STANDARD)
    far.end()
    pages = normal() | expected(STANDARD, 3) | expected(STANDARD, last) | {
        4 * 16384: {"state": "hole"}, last * 16384 + 16383: {"state": "hole"}}
    yield "good_far_segments", Vector(dump.finish(), "segments up to the last below 2^58", damage=False,
                                      partitions=[part(pages=pages)])

    dump = writer()
    process = PartitionWriter(dump, 0, "app", pack_codec=2)
    process.start()
    process.facts([[2 * 4096 + 100, 50]], address_space="process")
    process.segment(0, {2: Stored(1, bytes(100) + b"x" * 50 + bytes(3946))})
    process.end()
    yield "good_process", Vector(dump.finish(), "a process partition with a range exact to the byte", damage=False,
                                 partitions=[part("app", pages=expected(
                                     {2: Stored(1, bytes(100) + b"x" * 50 + bytes(3946))}))])


def later() -> Vectors:
    """What newer writers may add."""
    yield "later_minor", Vector(standard(header=lambda head: struct.pack_into("<H", head, 10, 7)),
                                "any version_minor is read", damage=False)
    yield "later_header_reserved", Vector(standard(header=lambda head: struct.pack_into("<Q", head, 80, 7)),
                                          "reserved bytes of the file header are ignored", damage=False)
    yield "later_json_members", Vector(
        standard(on("partition", lambda text: text[:-1] + b',"new":{"a":[1,2,{}]}}')),
        "unknown members are ignored", damage=False)
    reserved = (("map", put("I", 12, 7)), ("map index", put("I", 4, 7)), ("chunk", put("I", 4, 7)),
                ("packed map", put("H", 1, 0x0707)), ("note", put("H", 6, 7)), ("checkpoint", put("I", 12, 7)),
                ("map", put("B", 16 + 9, 7)))
    for n, (what, change) in enumerate(reserved):
        name = what.replace(" ", "_") + ("_entry" if n == 6 else "")
        yield f"later_reserved_{name}", Vector(standard(on(what, change)), f"a reserved field of a {what}",
                                               damage=False)
    dump = writer()
    out = partition(dump)
    dump.record(100, 0, 0, b"of this partition")
    dump.record(101, NOBODY, 0, b"of the dump")
    out.end()
    yield "later_optional_types", Vector(dump.finish(), "record types without flag 1 are skipped")
    dump = writer()
    out = partition(dump)
    out.registers(1, 1, list(range(60)))
    out.end()
    yield "later_registers", Vector(dump.finish(), "register sets grow", damage=False)

    dump = writer()
    out = partition(dump)
    out.registers(1, 1, list(range(34)), machine=183)
    out.end()
    yield "later_machine", Vector(dump.finish(), "registers of a machine that a reader may not know")

    dump = writer()
    partition(dump, slots=[], key=KEY, name="secret").end()
    dump.finish()
    dump.record(KEY_SLOT, 0, 0, struct.pack("<H", 5) + b"label" + b"not an age file")
    yield "later_appended", Vector(dump.finish(), "a key slot behind the first footer", partitions=secret(), key=KEY)


def odd() -> Vectors:
    """Allowed, but easily got wrong."""
    looks = b"HVDR" + struct.pack("<HHIIQQ", 2, 0, 9, 40, 0, 0)
    pages = STANDARD | {2: Stored(0, (looks * 128)[:4096])}
    yield "odd_magic_in_pages", Vector(standard(pages=pages), "pages full of record magics", damage=False, partitions=[
        part(pages=normal() | expected({2: pages[2], 4: pages[2]}))])
    pages = STANDARD | {2: Stored(0, bytes(4096))}
    yield "odd_stored_zeros", Vector(standard(pages=pages), "a stored page of zeros is stored", damage=False,
                                     partitions=[part(pages=normal() | expected({2: pages[2], 4: pages[2]}))])
    yield "odd_sealed_left_out", Vector(
        standard(on("partition", lambda text: to_json({"name": "example", "role": "guest"}))),
        "a partition is sealed unless its PARTITION says false", partitions=[part(sealed=True, pages=SEALED)])
    yield "odd_sealed_text_false", Vector(
        standard(on("partition", lambda text: text.replace(b"false", b'"false"'))),
        "the text \"false\" is not false", partitions=[part(sealed=True, pages=SEALED)])
    for name, value in (("null", b"null"), ("zero", b"0"), ("empty", b'""')):
        yield f"odd_sealed_{name}", Vector(
            standard(on("partition", lambda text, value=value: text.replace(b"false", value))),
            f"{value.decode()} is not false", partitions=[part(sealed=True, pages=SEALED)])
    yield "odd_unicode_name", Vector(standard(name="g\u00e4st \U0001f5a5"), "a name is UTF-8", damage=False,
                                     partitions=[part("g\u00e4st \U0001f5a5")])


def vectors() -> Vectors:
    for group in (plain, shapes, later, odd):
        yield from group()
