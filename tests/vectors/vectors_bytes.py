"""Accidents: dumps that end too early, and single bits that changed."""

from __future__ import annotations

import struct

from hvd_format import (CHECKPOINT, CHUNK, DUMP, FACTS, FOOTER, INDEX, MAP, MAP_INDEX, NOTE, PARTITION, PARTITION_END,
                        SUMMARY)
from vector_parts import (FIRST, KEY, SECOND, USER, Pages, Vector, Vectors, become, doubtful, find, flip, map_lost,
                          normal, part, secret, standard)

ALL_LOST = become(normal(), None, "unknown")


def only(pages: tuple[int, ...]) -> Pages:
    """These are known by their chunks, every other page is lost."""
    return ALL_LOST | {n: normal()[n] for n in pages}


def headers() -> Vectors:
    good = standard()
    fields = {"magic": (0, b"\x88"), "version_major": (8, b"\2"), "header_size": (12, b"\x88"), "dump_id": (16, b"\7"),
              "signer": (32, b"\7"), "created": (64, b"\7"), "reserved": (72, b"\7"), "check": (112, None)}
    for name, (at, value) in fields.items():
        data = flip(good, at) if value is None else good[:at] + value + good[at + 1:]
        yield f"header_{name}", Vector(data, f"the file header's {name} changed", "refused")
    yield "header_version_2", Vector(standard(header=lambda head: struct.pack_into("<H", head, 8, 2)),
                                     "an intact header of a newer format", "refused")
    yield "header_larger", Vector(standard(header=lambda head: struct.pack_into("<I", head, 12, 136)),
                                  "an intact header of another size", "refused")
    for suite in (0, 2, 0x10001):
        yield f"header_suite_{suite}", Vector(
            standard(header=lambda head, suite=suite: struct.pack_into("<I", head, 72, suite)),
            f"an intact header that names suite {suite}", "refused")
    yield "torn_empty", Vector(b"", "an empty file", "refused")
    yield "torn_in_header", Vector(good[:127], "shorter than its header", "refused")


def torn() -> Vectors:
    good, sealed = standard(), standard(key=KEY)

    def cut(at: int, why: str, partitions: list[dict], data: bytes = good, key: bytes | None = None) -> Vector:
        return Vector(data[:at], why, complete=False, verify="bad", partitions=partitions, key=key)

    before_end = become(normal(), (16384,), "unknown")
    yield "torn_behind_header", cut(128, "nothing but the header", [])
    yield "torn_in_partition", cut(find(good, PARTITION).offset + 50, "inside the PARTITION record", [])
    yield "torn_behind_partition", cut(find(good, PARTITION).end, "a partition and nothing of it",
                                       [part(state="incomplete", pages=ALL_LOST)])
    at = find(good, CHUNK, 1)
    yield "torn_in_chunk_header", cut(at.offset + 30, "inside a chunk's record header",
                                      [part(state="incomplete", pages=only((2, 5)))])
    yield "torn_in_chunk", cut(at.offset + 5000, "inside a chunk", [part(state="incomplete", pages=only((2, 5)))])
    at = find(good, MAP)
    yield "torn_before_map", cut(at.offset, "chunks without their map",
                                 [part(state="incomplete", pages=only((2, 3, 5, 6, 9)))])
    yield "torn_in_map", cut(at.offset + 60, "inside a map", [part(state="incomplete", pages=only((2, 3, 5, 6, 9)))])
    yield "torn_behind_map", cut(at.end, "a segment with its map, and no more",
                                 [part(state="incomplete", pages=before_end)])
    at = find(sealed, MAP)
    yield "torn_sealed_before_map", cut(at.offset, "chunks without their map, sealed",
                                        secret("incomplete", only((2, 3, 5, 6, 9))), sealed, KEY)
    yield "torn_sealed_no_key", cut(at.offset, "chunks without their map, sealed, no key",
                                    secret("incomplete", become(normal(), None, "sealed")), sealed)
    at = find(good, PARTITION_END)
    yield "torn_before_end", cut(at.offset, "all but PARTITION_END", [part(state="incomplete", pages=before_end)])
    yield "torn_behind_end", cut(at.end, "the partition is whole, the dump is not", [part()])
    yield "torn_before_index", cut(find(good, INDEX).offset, "no INDEX", [part()])
    yield "torn_before_footer", cut(find(good, FOOTER).offset, "no FOOTER", [part()])
    yield "torn_last_byte", cut(len(good) - 1, "the last byte is missing", [part()])
    yield "longer_by_8", Vector(good + bytes(8), "bytes behind the footer", complete=False, verify="bad", damage=True)
    at = find(good, CHUNK, 1)
    yield "lost_block", Vector(good[:at.offset + 512] + bytes(1024) + good[at.offset + 1536:], "a block reads as zeros",
                               verify="bad", damage=True, partitions=[part(pages=become(normal(), SECOND, "damaged"))])
    yield "lost_block_squeezed", Vector(
        good[:at.offset + 512] + good[at.offset + 1536:], "a block is gone and all behind it moved", complete=False,
        verify="bad", damage=True, partitions=[part(pages=become(doubtful(normal(), USER), SECOND, "damaged"))])


def flips() -> Vectors:
    good, sealed = standard(), standard(key=KEY)
    bad_first = [part(pages=become(normal(), FIRST, "damaged"))]

    def flipped(at: int, why: str, partitions: list[dict], mask: int = 1, complete: bool | None = True) -> Vector:
        return Vector(flip(good, at, mask), why, complete=complete, verify="bad", damage=True, partitions=partitions)

    chunk = find(good, CHUNK, 0)
    fields = {"magic": 0, "type": 4, "flags": 6, "partition": 8, "payload_size": 12, "number": 16, "sequence": 24,
              "check": 32, "descriptor_size": 48, "descriptor": 56, "data": 4000}
    for name, at in fields.items():
        yield f"flip_chunk_{name}", flipped(chunk.offset + at, f"a bit of a chunk's {name}", bad_first)
    yield "flip_chunk_payload_size_large", flipped(chunk.offset + 15, "a payload_size beyond the limit",
                                                   bad_first, 0x80)
    user = find(good, CHUNK, 2)
    assert user.size % 8, "this chunk has padding"
    yield "flip_chunk_padding", flipped(user.end - 1, "padding that is not zero",
                                        [part(pages=become(normal(), USER, "damaged"))])
    lost = [part(pages=map_lost(normal()))]
    yield "flip_map", flipped(find(good, MAP).offset + 60, "a bit of a map", lost)
    yield "flip_map_index", flipped(find(good, MAP_INDEX).offset + 60, "a bit of a map index",
                                    [part(pages=doubtful(normal()))])
    for name, kind in (("dump", DUMP), ("facts", FACTS), ("note", NOTE)):
        yield f"flip_{name}", flipped(find(good, kind).offset + 50, f"a bit of {name.upper()}", [part()])
    yield "flip_summary", flipped(find(good, SUMMARY).offset + 50, "a bit of SUMMARY",
                                  [part(pages=become(normal(), (16384,), "unknown", keep=True))])
    yield "flip_partition", flipped(find(good, PARTITION).offset + 50, "a partition that is not introduced", [])
    yield "flip_partition_end", flipped(
        find(good, PARTITION_END).offset + 50, "a partition that is not ended",
        [part(state="incomplete", pages=become(normal(), (16384,), "unknown"))])
    for name, kind, at in (("checkpoint_leaf", CHECKPOINT, 100), ("index", INDEX, 60), ("footer", FOOTER, 60),
                           ("footer_check", FOOTER, 32)):
        yield f"flip_{name}", flipped(find(good, kind).offset + at, f"a bit of the {name}", [part()],
                                      complete=None if kind == INDEX else kind != FOOTER)

    chunk = find(sealed, CHUNK, 0)
    for name, at in {"descriptor": 60, "descriptor_tag": 80, "data": 4000, "sequence": 24}.items():
        yield f"flip_sealed_{name}", Vector(flip(sealed, chunk.offset + at), f"a bit of a sealed chunk's {name}",
                                            verify="bad", damage=True, key=KEY,
                                            partitions=secret(pages=become(normal(), FIRST, "damaged")))
    for name, at in {"number": 16, "check": 32}.items():
        yield f"flip_sealed_{name}", Vector(
            flip(sealed, chunk.offset + at), f"a bit of a sealed chunk's {name}; who opens it need not mind",
            verify="bad", key=KEY, partitions=secret(pages=become(normal(), FIRST, "damaged", keep=True)))
    yield "flip_sealed_map", Vector(flip(sealed, find(sealed, MAP).offset + 60), "a bit of a sealed map", verify="bad",
                                    damage=True, key=KEY, partitions=secret(pages=map_lost(normal())))


def vectors() -> Vectors:
    for group in (headers, torn, flips):
        yield from group()
