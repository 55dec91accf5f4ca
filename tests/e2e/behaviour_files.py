"""Cases: keys that do not fit, dumps that are damaged, outputs that cannot be written."""

from __future__ import annotations

import random
import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

from behaviour import World, full_device, partitions, told
from comparison import Comparison
from product import program, run

_RECORD = struct.Struct("<4sHHIIQQ16s")
KEY_SLOT, CHUNK = 3, 7


def _records(path: Path) -> Iterator[tuple[int, int, int, int]]:
    """(offset, type, partition, payload size) of each record; see formats/hvd/SPEC.md."""
    data = path.read_bytes()
    at = 128
    while at + _RECORD.size <= len(data):
        _, kind, _, partition, size, *_ = _RECORD.unpack_from(data, at)
        yield at, kind, partition, size
        at += _RECORD.size + (size + 7) // 8 * 8


def _flip(path: Path, *offsets: int) -> None:
    with path.open("r+b") as file:
        for offset in offsets:
            file.seek(offset)
            byte = file.read(1)[0]
            file.seek(offset)
            file.write(bytes([byte ^ 0x10]))


def _copy(world: World, name: str) -> Path:
    return Path(shutil.copyfile(world.both(), world.folder / name))


def case_keys(world: World, compared: Comparison) -> None:
    """No key, a wrong key, a damaged slot and damaged data are four different things to be told."""
    slot, data = _copy(world, "slot.hvd"), _copy(world, "data.hvd")
    place = next(at for at, kind, partition, _ in _records(slot) if kind == KEY_SLOT)
    _flip(slot, place + _RECORD.size + 300)
    chunks = [(at, size) for at, kind, partition, size in _records(data) if kind == CHUNK and partition == 0]
    _flip(data, *(at + _RECORD.size + size - 9 for at, size in chunks))
    key = ["--identity", world.keys["crashed"]]
    attempts = {"no key": (world.both(), [], 4), "wrong key": (world.both(), ["--identity", world.keys["other"]], 4),
                "damaged slot": (slot, key, None), "damaged data": (data, key, None)}
    commands = {"extract": ("hvdump-extract", "partition", "crashed", "-o", world.folder / "keys.out"),
                "recover": ("hvdump-decrypt", "recover", "--partition", "crashed", "-o", world.folder / "keys.out")}
    for name, (tool, command, *rest) in commands.items():
        messages = {}
        for what, (dump, identity, code) in attempts.items():
            done = run(tool, command, dump, *rest, *identity, expect=None)
            messages[what] = told(done)
            right = done.returncode == code if code else done.returncode in (1, 3, 4)
            compared.that(right and messages[what], f"{name}, {what}: exit {done.returncode}, {messages[what][:300]}")
            compared.that((world.folder / "keys.out").exists() == (done.returncode in (0, 3)), "file left only if done")
            (world.folder / "keys.out").unlink(missing_ok=True)
            (world.folder / "keys.out.gdb").unlink(missing_ok=True)
        texts = {m.split("hvd")[-1] for m in messages.values()}
        compared.equal(len(texts), len(attempts), f"{name}: different messages")
        for what in attempts:
            # Each is called what it is, and only that is.
            compared.equal("wrong key" in messages[what], what == "wrong key", f"{name}, {what}: speaks of a wrong key")
            compared.equal("no key was given" in messages[what], what == "no key", f"{name}, {what}: speaks of no key")
    slot.unlink()
    data.unlink()


def case_torn(world: World, compared: Comparison) -> None:
    """A dump cut off anywhere: what is complete is recovered, the rest is named."""
    whole = world.both()
    size = whole.stat().st_size
    key = ["--identity", world.keys["crashed"]]
    for share in (0.1, 0.35, 0.6, 0.999):
        torn = _copy(world, "torn.hvd")
        with torn.open("r+b") as file:
            file.truncate(int(size * share))
        done = run("hvdump-extract", "list", torn, expect=None)
        compared.equal(done.returncode, 3, f"list of {share:.1%}: exit ({told(done)[:120]})")
        out = world.folder / "torn.raw"
        done = run("hvdump-extract", "partition", torn, "crashed", "--format", "raw", "-o", out, *key, expect=None)
        # It may have been written whole before the cut.
        state = partitions(torn).get("crashed", {}).get("state")
        compared.equal((done.returncode, bool(told(done))), (0, False) if state == "captured" else (3, True),
                       f"partition of {share:.1%}, {state}: exit, said something ({told(done)[:160]})")
        done = run("hvdump-analyze", "triage", torn, *key, expect=None)
        compared.that(done.returncode in (0, 3), f"triage of {share:.1%}: exit {done.returncode}")
        done = run("hvdump-extract", "verify", torn, expect=None)
        compared.that(done.returncode in (1, 3), f"verify of {share:.1%}: exit {done.returncode}, {told(done)[:120]}")
        out.unlink(missing_ok=True)
    torn.unlink()


def case_flipped(world: World, compared: Comparison) -> None:
    """Bits flipped all over: no crash, no hang, and verify notices each."""
    whole = world.both()
    chosen = random.Random(7)
    key = ["--identity", world.keys["crashed"]]
    ends: dict[str, int] = {}
    unnoticed = []
    # The beginning holds keys and facts, the end the index.
    size = whole.stat().st_size
    places = [chosen.randrange(low, high) for low, high in ((0, 128), (128, 4096), (4096, size), (size - 65536, size))
              for _ in range(6)]
    for place in places:
        flipped = _copy(world, "flipped.hvd")
        _flip(flipped, place)
        if run("hvdump-extract", "verify", flipped, expect=None, timeout=300).returncode == 0:
            unnoticed.append(place)
        for arguments in (("hvdump-extract", "list", flipped), ("hvdump-analyze", "triage", flipped, *key)):
            done = run(*arguments, expect=None, timeout=300)
            ends[f"{arguments[0]} {done.returncode}"] = ends.get(f"{arguments[0]} {done.returncode}", 0) + 1
    compared.equal(unnoticed, [], f"of {len(places)} flips, not noticed by verify")
    compared.that(sum(ends.values()) == 2 * len(places), f"all ended: {ends}")
    flipped.unlink()


def case_outputs(world: World, compared: Comparison) -> None:
    """Input that is not there, output that cannot be written: said, and nothing half-written left."""
    dump, key = world.both(), ["--identity", world.keys["crashed"]]
    before, full = dump.stat().st_size, full_device(world.folder)
    attempts = {
        "no such dump": ("hvdump-extract", "list", "/none.hvd"),
        "a folder as dump": ("hvdump-extract", "list", world.folder),
        "no such partition": ("hvdump-extract", "partition", dump, "nobody", "-o", world.folder / "x", *key),
        "no such folder": ("hvdump-extract", "partition", dump, "crashed", "-o", "/none/x", *key),
        "the input itself": ("hvdump-extract", "partition", dump, "crashed", "-o", dump, *key),
        "no room": ("hvdump-extract", "partition", dump, "crashed", "-o", full, "--format", "raw", *key),
        "no such key file": ("hvdump-extract", "partition", dump, "crashed", "-o", world.folder / "x", "--identity",
                             "/none.key"),
        "no such symbol": ("hvdump-analyze", "read", dump, "no_such_symbol", "--partition", "crashed", *key),
        "report into no folder": ("hvdump-analyze", "triage", dump, "-o", "/none/x", *key),
        "no room for a report": ("hvdump-analyze", "triage", dump, "-o", full, *key),
    }
    for what, arguments in attempts.items():
        done = run(*arguments, expect=None)
        compared.that(done.returncode in (1, 2, 4) and told(done),
                      f"{what}: exit {done.returncode}, {told(done)[:160]}", done)
    compared.that(full.is_char_device(), "a device as output is not replaced by a file")
    compared.that(not (world.folder / "x").exists() and dump.stat().st_size == before, "nothing left, input whole")
    compared.equal(sorted(partitions(dump, 0)), ["crashed", "hypervisor:crashed", "hypervisor:running", "running"],
                   "the dump still lists")
    with subprocess.Popen([program("hvdump-analyze"), "triage", dump, *key], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.read(10)
        process.stdout.close()
    compared.that(process.returncode >= 0, f"a reader that goes away: exit {process.returncode}")
