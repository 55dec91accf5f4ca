"""Dumps changed on purpose: by somebody without any key, by one who signs anew, and key slots of every kind."""

from __future__ import annotations

import json
import struct
import subprocess
from collections.abc import Callable

from hvd_format import CHUNK, MAP, MAP_INDEX, NOTE, PARTITION, commitment, derive
from hvd_writer import Stored, to_json
from vector_parts import (FIRST, ID, KEY, OTHER_ID, OTHER_SEED, OTHER_KEY, SECOND, USER, Loose, Vector, Vectors, become,
                          chunk_number, doubtful, find, flip, forge, normal, on, part, partition, recheck, secret,
                          standard, stored, writer)

BOTH = FIRST + SECOND
SAFE = doubtful(normal())  # never contents of another place


def unsigned() -> Vectors:
    """By somebody who can recompute checks, since the dump id is no secret, but sign nothing."""
    for name, key in (("", None), ("_sealed", KEY)):
        good = standard(key=key)
        who = ("secret" if key else "example"), key is not None
        a, b = find(good, CHUNK, 0), find(good, CHUNK, 1)
        assert a.size == b.size and a.end == b.offset
        one, two = good[a.offset:a.end], good[b.offset:b.end]
        ends = good[:a.offset], good[b.end:]

        def vector(data: bytes, why: str, pages: dict, complete: bool = True, state: str = "captured") -> Vector:
            return Vector(data, why, complete=complete, verify="bad", damage=True, key=key,
                          partitions=[part(who[0], state, who[1], pages)])
        yield f"swapped_chunks{name}", vector(ends[0] + two + one + ends[1], "two chunks changed places",
                                              doubtful(normal(), BOTH))
        swapped = recheck(recheck(ends[0] + one[:48] + two[48:] + two[:48] + one[48:] + ends[1], a.offset), b.offset)
        yield f"swapped_payloads{name}", vector(swapped, "two chunks changed contents, with new checks",
                                                doubtful(normal(), BOTH))
        yield f"repeated_chunk{name}", vector(ends[0] + one + one + two + ends[1],
                                                "a chunk inserted twice", SAFE, False)
        yield f"repeated_over{name}", vector(ends[0] + one + one + ends[1], "a chunk written over the next",
                                             become(normal(), SECOND, "damaged"))
        yield f"removed_chunk{name}", vector(ends[0] + two + ends[1], "a chunk cut out",
                                             become(SAFE, FIRST, "damaged", "unknown"), False)
        yield f"zeroed_chunk{name}", vector(ends[0] + bytes(len(one)) + two + ends[1], "a chunk overwritten with zeros",
                                            become(normal(), FIRST, "damaged"))
        other = standard(key=key, dump_id=OTHER_ID)
        assert len(other) == len(good)
        spliced = good[:a.offset] + other[a.offset:a.end] + good[a.end:]
        yield f"spliced_chunk{name}", vector(spliced, "the same record of another dump",
                                             become(normal(), FIRST, "damaged"))
        if key:
            yield "spliced_chunk_rechecked", vector(recheck(spliced, a.offset),
                                                    "the same sealed record of another dump, with a new check",
                                                    become(normal(), FIRST, "damaged"))
        m, o = find(good, MAP), find(other, MAP)
        if key:
            yield "spliced_map_rechecked", vector(
                recheck(good[:m.offset] + other[o.offset:o.end] + good[m.end:], m.offset),
                "the map of another dump, with a new check", SAFE)
        yield f"torn_foreign_map{name}", vector(
            good[:m.offset] + other[o.offset:o.end], "a torn dump with another dump's map appended",
            become(normal(), None, "unknown") | {n: normal()[n] for n in (2, 3, 5, 6, 9)}, False, "incomplete")


def fakes() -> Vectors:
    """Records that a guest keeps in its memory, found when the chunk around them is damaged."""
    evil = writer(dump_id=OTHER_ID)
    partition(evil, 1, "evil", pages={0: Stored(0, b"evil" * 1024)}, chunk_pages=1).end()
    fake = evil.finish()[128:]
    fake += bytes(-len(fake) % 4096)
    pages = {n: Stored(0, fake[n * 4096:(n + 1) * 4096]) for n in range(len(fake) // 4096)}
    good = standard(pages=pages, chunk_pages=256)
    lost = [part(pages={n: {"state": "damaged"} for n in pages})]
    at = find(good, CHUNK, 0).offset
    yield "fake_records", Vector(good, "page data full of another dump's records", damage=False, partitions=[
        part(pages={n: stored(page.data) for n, page in pages.items()})])
    yield "fake_records_damaged", Vector(flip(good, at), "the same, behind a damaged header", verify="bad", damage=True,
                                         partitions=lost)
    yield "fake_records_torn", Vector(flip(good, at)[:-8], "the same, without a footer", complete=False, verify="bad",
                                      damage=True, partitions=lost)


def resigned() -> Vectors:
    """By one who signs the whole dump anew, so that only the seals are left to tell."""
    good = standard(key=KEY)

    def vector(edit: Callable[[list[Loose]], list[Loose]], why: str, pages: dict, damage: bool = True,
               data: bytes = good) -> Vector:
        return Vector(forge(data, edit), why, damage=damage, key=KEY, partitions=secret(pages=pages))

    def remove(loose: list[Loose]) -> list[Loose]:
        return [r for r in loose if (r.kind, r.sequence) != (CHUNK, 0)]

    def swap(loose: list[Loose]) -> list[Loose]:
        a, b = chunk_number(loose, 0), chunk_number(loose, 1)
        loose[a].payload, loose[b].payload = loose[b].payload, loose[a].payload
        return loose

    def rename(loose: list[Loose]) -> list[Loose]:
        a, b = chunk_number(loose, 0), chunk_number(loose, 1)
        loose[a].sequence, loose[b].sequence = 1, 0
        return loose

    def cut(kind: int) -> Callable[[list[Loose]], list[Loose]]:
        return lambda loose: [r for r in loose if r.kind != kind]

    def descriptor(loose: list[Loose]) -> list[Loose]:
        a, b = loose[chunk_number(loose, 0)], loose[chunk_number(loose, 1)]
        size, = struct.unpack_from("<I", a.payload)
        a.payload = a.payload[:8 + size] + b.payload[8 + size:]
        return loose

    nothing = become(normal(), None, "sealed", "damaged", "unknown")
    yield "resigned_otherwise", Vector(forge(good, lambda loose: loose, OTHER_SEED), "signed by somebody else: no seal opens",
                                       key=KEY, partitions=secret(pages=nothing))
    yield "resigned", Vector(forge(good, lambda loose: loose), "signed anew, else as it was",
                             damage=False, key=KEY, partitions=secret())
    yield "resigned_removed_chunk", vector(remove, "a chunk cut out", become(SAFE, FIRST, "damaged", "unknown"))
    lost = become(normal(), BOTH, "damaged", "unknown")
    yield "resigned_swapped", vector(swap, "two chunks changed contents", lost)
    yield "resigned_renamed", vector(rename, "two chunks changed sequences", lost)
    yield "resigned_mixed", vector(descriptor, "one chunk's descriptor, another's data",
                                   become(normal(), FIRST, "damaged"))
    yield "resigned_removed_map", vector(cut(MAP), "the map cut out", become(
        become(SAFE, (0, 1, 4, 7, 8), "damaged", "unknown"), (16384,), "hole", "unknown"))
    yield "resigned_removed_map_index", vector(cut(MAP_INDEX), "the map index cut out", become(
        SAFE, (8, 16384), "hole", "unknown", "damaged"))
    yield "resigned_removed_note", vector(cut(NOTE), "a note cut out", SAFE)

    dump = writer()
    for number, (name, key) in enumerate((("secret", KEY), ("other", OTHER_KEY))):
        partition(dump, number, name, key).end()
    two = dump.finish()

    def across(loose: list[Loose]) -> list[Loose]:
        own, foreign = (next(r for r in loose if (r.kind, r.sequence, r.partition) == (CHUNK, 0, n)) for n in (0, 1))
        own.payload, foreign.payload = foreign.payload, own.payload
        return loose
    yield "resigned_across", Vector(forge(two, across), "chunks of two partitions changed contents", damage=True,
                                    key=KEY, partitions=[
                                        *secret(pages=become(normal(), FIRST, "damaged")),
                                        part("other", sealed=True, pages=become(normal(), None, "sealed", "damaged"))])

    def downgrade(loose: list[Loose]) -> list[Loose]:
        for r in loose:
            if r.kind == PARTITION:
                r.payload = to_json({"name": "secret", "role": "guest", "sealed": False})
        return loose
    nothing = become(normal(), None, "unknown", "damaged")
    yield "resigned_downgraded", Vector(forge(good, downgrade), "a sealed partition declared to be in the clear",
                                        key=KEY, damage=True, partitions=[part("secret", sealed=False, pages=become(
                                            nothing, (8, 16384), "hole", keep=True))])


def key_text(*lines: str, dump_id: bytes = ID, number: int = 0) -> bytes:
    lines = ("hvdump-keys/1", f"dump {dump_id.hex()}", f"partition {number}", *lines)
    return "".join(f"{line}\n" for line in lines).encode()


def slots() -> Vectors:
    """Real age files; the only vectors that differ from run to run."""
    identity = subprocess.run(["age-keygen"], capture_output=True, check=True, text=True).stdout
    stranger = subprocess.run(["age-keygen"], capture_output=True, check=True, text=True).stdout
    recipient = {text: next(line for line in text.splitlines() if "public key" in line).split()[-1]
                 for text in (identity, stranger)}

    def slot(text: bytes, to: str = identity) -> bytes:
        done = subprocess.run(["age", "-r", recipient[to]], input=text, capture_output=True, check=True)
        label = recipient[to].encode()
        return struct.pack("<H", len(label)) + label + done.stdout

    whole = key_text(f"partition-key {KEY.hex()}")
    sealed = become(normal(), None, "sealed")

    def vector(why: str, pages: dict, *files: bytes, damage: bool | None = None) -> Vector:
        return Vector(standard(key=KEY, slots=list(files)), why, partitions=secret(pages=pages), identity=identity,
                      damage=damage)

    yield "age_slot", vector("a key slot for the identity beside it", normal(), slot(whole), damage=False)
    yield "age_second_slot", vector("the second slot fits", normal(), slot(whole, stranger), slot(whole), damage=False)
    yield "age_stranger", vector("no slot fits", sealed, slot(whole, stranger))
    map_key = f"map-key {derive(KEY, 0, b'hvd-map1').hex()}"
    some = key_text(map_key, f"class-key user {derive(KEY, 1, b'hvd-cls1').hex()}")
    yield "age_one_class", vector("the map key and the class key of user pages", become(normal(), BOTH, "sealed"),
                                  slot(some))
    classes = [f"class-key {name} {derive(KEY, c, b'hvd-cls1').hex()}" for c, name in ((0, "kernel"), (4, "registers"))]
    yield "age_two_classes", vector("all but user pages", become(normal(), USER, "sealed"), slot(
        key_text(map_key, *classes)))
    refused = {"other_dump": key_text(f"partition-key {KEY.hex()}", dump_id=OTHER_ID),
               "other_partition": key_text(f"partition-key {KEY.hex()}", number=1),
               "unknown_line": key_text(f"partition-key {KEY.hex()}", "expires 2030"),
               "no_key": key_text(classes[0]), "no_version": whole.split(b"\n", 1)[1],
               "later_version": whole.replace(b"keys/1", b"keys/2"),
               "short_key": key_text(f"partition-key {KEY.hex()[:-2]}"), "no_line_feed": whole[:-1]}
    for name, text in refused.items():
        yield f"age_text_{name}", vector("a slot whose key text must be refused",
                                         become(sealed, None, "damaged", keep=True), slot(text))
    torn = bytearray(slot(whole))
    torn[-1] ^= 1
    yield "age_slot_damaged", vector("an age file that is not intact", become(sealed, None, "damaged", keep=True),
                                     bytes(torn))


def commitments() -> Vectors:
    """By a writer who would give two recipients two keys for the same pieces."""
    sealed = become(normal(), None, "sealed")

    def vector(change: Callable[[dict], object], why: str) -> Vector:
        def edit(text: bytes) -> bytes:
            said = json.loads(text)
            change(said)
            return to_json(said)
        return Vector(standard(on("partition", edit), key=KEY), why, key=KEY, partitions=secret(pages=sealed))
    for name in ("map", "kernel", "unclassified"):
        yield f"commitment_{name}", vector(
            lambda said, name=name: said["commitments"].update({name: commitment(name, derive(OTHER_KEY, 0, b"hvd-map1"))}),
            f"the key \"{name}\" is not the one that the partition commits to")
        yield f"commitment_no_{name}", vector(lambda said, name=name: said["commitments"].pop(name),
                                              f"no commitment to the key \"{name}\"")
    yield "commitment_none", vector(lambda said: said.pop("commitments"), "no commitments")
    yield "commitment_text", vector(lambda said: said.update(commitments="x"), "commitments that are not an object")
    yield "commitment_swapped", vector(
        lambda said: said["commitments"].update(user=said["commitments"]["kernel"], kernel=said["commitments"]["user"]),
        "commitments to two classes' keys changed places")


def vectors() -> Vectors:
    for group in (unsigned, fakes, resigned, commitments, slots):
        yield from group()
