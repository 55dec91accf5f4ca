"""The guest's memory: equal to QEMU's own dump, in clear nowhere but where its key opens it."""

from __future__ import annotations

import errno
import filecmp
import json
import mmap
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from comparison import Comparison
from product import Failure, Product, run
from vmcore import ElfDump, Segment

PAGE = 4096
GIB = 1 << 30


@contextmanager
def mapped(path: Path) -> Iterator[mmap.mmap]:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        yield data


def data_ranges(path: Path, margin: int) -> Iterator[tuple[int, int]]:
    """(begin, end) of what is stored of a sparse file, and `margin` bytes around: nothing else is worth a search."""
    with path.open("rb") as file:
        end, size = 0, path.stat().st_size
        while end < size:
            try:
                begin = os.lseek(file.fileno(), end, os.SEEK_DATA)
            except OSError as error:
                if error.errno == errno.ENXIO:  # a hole up to the end
                    return
                raise
            end = os.lseek(file.fileno(), begin, os.SEEK_HOLE)
            yield max(begin - margin, 0), min(end + margin, size)


def occurrences(path: Path, needle: bytes) -> Iterator[int]:
    """Offsets in a file, holes in it left aside: `needle` is not all zeros. May give the same one twice."""
    # mmap's own find() of Python 3.11 reads a byte behind the mapping, and dies if nothing is there.
    wanted = re.compile(re.escape(needle), re.DOTALL)
    with mapped(path) as data:
        for begin, end in data_ranges(path, len(needle)):
            for found in wanted.finditer(data, begin, end):
                yield found.start()


def find(path: Path, needle: bytes) -> int:
    """Offset of the first occurrence, or -1; `needle` is not all zeros."""
    return next(occurrences(path, needle), -1)


def _merged(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Sorted (begin, end), those that touch made one."""
    out: list[tuple[int, int]] = []
    for begin, end in sorted(ranges):
        if out and begin <= out[-1][1]:
            out[-1] = out[-1][0], max(end, out[-1][1])
        else:
            out.append((begin, end))
    return out


def _without(ranges: list[tuple[int, int]], holes: list[tuple[int, int]]) -> list[tuple[int, int]]:
    for hole_begin, hole_end in holes:
        ranges = [piece for begin, end in ranges
                  for piece in ((begin, min(end, hole_begin)), (max(begin, hole_end), end))
                  if piece[0] < piece[1]]
    return ranges


def _ram_of(memory_tree: str) -> list[tuple[int, int]]:
    """RAM as QEMU's flat view of its memory has it: what firmware made read-only too, but no ROM, no devices."""
    view = next(part for part in memory_tree.split("FlatView #") if re.search(r'AS "memory"', part))
    found = re.findall(r"^ +(\w{16})-(\w{16}) \(prio [^)]*, r[ao]m\): (\S+)", view, re.MULTILINE)
    return _merged([(int(b, 16), int(e, 16) + 1) for b, e, name in found if name in ("ram", "pc.ram")])


def _size(text: str) -> int:
    return int(text[:-1]) << {"M": 20, "G": 30}[text[-1]]


def _first_difference(ours: bytes, theirs: bytes) -> int:
    return next(at for at in range(0, len(theirs), PAGE) if ours[at:at + PAGE] != theirs[at:at + PAGE])


def _pieces(ours: list[Segment], theirs: list[Segment]) -> Iterator[tuple[Segment, Segment, int, int]]:
    """What two dumps both have, in handy pieces: (our segment, theirs, begin, end)."""
    for load in ours:
        for there in theirs:
            begin, stop = max(load.pa, there.pa), min(load.pa + load.size, there.pa + there.size)
            for at in range(begin, stop, 16 << 20):
                yield load, there, at, min(at + (16 << 20), stop)


def check_bytes(product: Product, compared: Comparison) -> None:
    qemu, elf = ElfDump(product.need(product.qemu_dump)), ElfDump(product.need(product.elf))
    ours = _merged([(load.pa, load.pa + load.size) for load in elf.loads])
    theirs = _merged([(load.pa, load.pa + load.size) for load in qemu.loads])
    ram = _ram_of(product.facts["memory_tree"])
    compared.equal(_hex(ours), _hex(ram), "the core's physical ranges are the guest's RAM")
    hidden = _size(product.facts["options"]["mem"]) - sum(end - begin for begin, end in ours)
    # Below 1 MiB a PC shows VGA and ROM in place of some of the RAM.
    compared.that(0 <= hidden <= 384 << 10, f"all RAM but {hidden >> 10} KiB below 1 MiB is there")
    compared.equal(_hex(_without(ours, theirs)), [], "what is ours and not in QEMU's dump")
    extra = _without(theirs, ours)
    compared.that(not _without(extra, [(0xA0000, 0x100000), (3 * GIB, 4 * GIB)]),
                  f"what is QEMU's and not ours is VGA memory and ROM: {_hex(extra)}", _hex(extra))
    with mapped(product.qemu_dump) as theirs_bytes, mapped(product.elf) as our_bytes, \
            mapped(product.need(product.raw)) as raw_bytes:
        pages, different = 0, []
        for load, there, begin, end in _pieces(elf.loads, qemu.loads):
            expected = theirs_bytes[there.offset + begin - there.pa:there.offset + end - there.pa]
            core = our_bytes[load.offset + begin - load.pa:load.offset + end - load.pa]
            pages += len(expected) // PAGE
            for what, got in (("core", core), ("raw", raw_bytes[begin:end])):
                if got != expected:
                    different.append(f"{what} at {begin + _first_difference(got, expected):#x}")
        compared.that(pages * PAGE >= sum(end - begin for begin, end in ours), f"{pages} pages, all of RAM")
        compared.equal(different, [], "where core and raw image differ from QEMU's dump")
        compared.equal(len(raw_bytes), ours[-1][1], "the raw image ends where RAM ends")


def _hex(ranges: list[tuple[int, int]]) -> list[str]:
    return [f"{begin:#x}-{end:#x}" for begin, end in ranges]


def needles(product: Product) -> dict[str, list[bytes]]:
    canaries = product.facts["canaries"]
    register = canaries["register"]
    return {"environment": [canaries["env"].encode()], "file": [canaries["file"].encode()],
            "kernel": [canaries["kernel"].encode()],
            "register": [register.to_bytes(8, "little"), register.to_bytes(8, "big"), f"{register:x}".encode()]}


def check_canaries(product: Product, compared: Comparison) -> None:
    """In clear nowhere without the key; with it, there."""
    name = product.facts["name"]
    outputs = {
        "list": run("hvdump-extract", "list", product.hvd, "--json").stdout,
        "verify": run("hvdump-extract", "verify", product.hvd, "--json", expect=None).stdout,
        "triage without key": run("hvdump-analyze", "triage", product.hvd).stdout,
        "triage without key, text": run("hvdump-analyze", "triage", product.hvd, "--format", "text").stdout,
        "hvdump-decrypt list": run("hvdump-decrypt", "list", product.hvd).stdout,
        "the capture's messages": product.facts["stderr"].encode()}
    # The hypervisor partition is in clear but compressed, so its image counts, not only the file.
    hypervisor = product.need(product.hypervisor)
    images = [p for p in ([hypervisor] if hypervisor.is_file() else sorted(hypervisor.rglob("*"))) if p.is_file()]
    compared.that(images, f"{len(images)} hypervisor images")
    for what, forms in needles(product).items():
        for form in forms:
            for path in [product.hvd, *images]:
                at = find(path, form)
                compared.that(at < 0, f"{what} canary not in {path.name} ({path.stat().st_size} bytes)", f"at {at}")
            for source, output in outputs.items():
                compared.that(output and form not in output or source == "the capture's messages",
                              f"{what} canary not in what {source} says ({len(output)} bytes)")
    secret = product.facts["secret"].encode()
    for path in [product.hvd, *images]:
        compared.that(find(path, secret) < 0, f"the secret of QEMU's command line is not in {path.name}")
    for source, output in outputs.items():
        compared.that(secret not in output, f"nor in what {source} says")
    _present(product, compared, product.need(product.raw), product.need(product.elf), "extracted")
    listing = json.loads(outputs["list"])
    state = {p["name"]: (p["state"], p["sealed"]) for p in listing["partitions"]}
    compared.equal(state.get(name), ("captured", True), "the guest's partition")


def _present(product: Product, compared: Comparison, raw: Path, elf: Path, how: str) -> None:
    found = {what: forms for what, forms in needles(product).items()}
    for what in ("environment", "file", "kernel"):
        compared.that(find(raw, found[what][0]) >= 0, f"{what} canary in the {how} memory")
    # In the core's notes while the process runs, else in memory, saved by the interrupt.
    binary = found["register"][0]
    in_notes = any(binary in content for _, _, content in ElfDump(elf).notes())
    in_memory = find(raw, binary) >= 0
    compared.that(in_notes or in_memory, f"register canary: in the {how} registers {in_notes}, memory {in_memory}")


def check_recovered(product: Product, compared: Comparison) -> None:
    """What hvdump-decrypt recover wrote needs no key and holds the same memory."""
    name = product.facts["name"]
    raw, elf = product.folder / "recovered.raw", product.folder / "recovered.elf"
    try:
        for path, form in ((raw, "raw"), (elf, "elf")):
            run("hvdump-extract", "partition", product.need(product.recovered), name, "--format", form, "-o", path)
        for path, other in ((raw, product.need(product.raw)), (elf, product.need(product.elf))):
            compared.that(filecmp.cmp(path, other, shallow=False),
                          f"{path.name} equals what the sealed dump gave, {other.stat().st_size} bytes")
        _present(product, compared, raw, elf, "recovered")
    finally:
        raw.unlink(missing_ok=True)
        elf.unlink(missing_ok=True)
    done = run("hvdump-extract", "verify", product.recovered, expect=None)
    compared.equal(done.returncode, 0, "verify of the recovered dump")
    wrong = product.folder / "wrong.hvd"
    for what, arguments in (("no key", []), ("wrong key", ["--identity", _another_key(product)])):
        done = run("hvdump-decrypt", "recover", product.hvd, "--partition", name, *arguments, "-o", wrong,
                   expect=None)
        said = done.stderr.decode()
        compared.equal((done.returncode, wrong.exists()), (4, False), f"recover with {what}: exit, file left")
        compared.that(said.strip(), f"recover with {what} says: {said.strip()}")


def _another_key(product: Product) -> Path:
    from produce import age_key
    path = product.folder / "another-key"
    age_key(path)
    if not path.exists():
        raise Failure("age-keygen wrote nothing")
    return path
