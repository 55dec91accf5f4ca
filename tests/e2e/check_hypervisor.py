"""The hypervisor image in gdb; the dump in the independent reader and in age."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
from pathlib import Path

from check_memory import mapped
from comparison import Comparison
from images import Skip
from product import Product, run_json
from referees import _need

VECTORS = Path(__file__).parents[1] / "vectors"
_OUTERMOST = ("start_thread", "clone3", "__clone3", "clone", "_start", "__libc_start_main_impl", "main")


def check_image(product: Product, compared: Comparison) -> None:
    """A stack of each of QEMU's threads, and nothing but stacks."""
    image = product.need(product.hypervisor)
    cores = [image] if image.is_file() else sorted(p for p in image.rglob("*") if p.is_file())
    report = next(p for p in product.report["partitions"] if p["role"] == "hypervisor")
    threads = report["hypervisor"]["threads"]
    for core in cores:
        size = core.stat().st_size
        compared.that(size < 2 << 20, f"{core.name}: {size >> 10} KiB, so neither RAM nor heap")
        said = subprocess.run([_need("gdb", "gdb"), "-nx", "-batch", "-iex", "set debuginfod enabled off", "-ex",
                               "set width 0", "-ex", f"core-file {core}", "-ex", "thread apply all bt",
                               _need("qemu-system-x86_64", "qemu-system-x86")], capture_output=True, text=True,
                              errors="replace", timeout=900, env=dict(os.environ)).stdout
        stacks = re.split(r"^Thread \d+ ", said, flags=re.MULTILINE)[1:]
        compared.equal(len(stacks), len(threads), "threads with a stack")
        for stack in stacks:
            frames = re.findall(r"^#\d+ +(?:0x[0-9a-f]+ in )?(\S+)", stack, re.MULTILINE)
            # QEMU's main thread may be caught in one of its coroutines, whose stacks begin in nothing.
            coroutine = frames[-1:] == ["??"] and re.search(r"^#\d+ +0x0+ in \?\?", stack, re.MULTILINE)
            ends = [name for name in _OUTERMOST if name in frames] or coroutine
            compared.that(len(frames) >= 3 and ends, f"{stack.split(':')[0]}: {len(frames)} frames, the outermost "
                          f"{frames[-1] if frames else '-'}", stack)
        loads = subprocess.run(["readelf", "-lW", core], capture_output=True, text=True, check=True).stdout
        writable = [int(m[1], 16) for m in re.finditer(
            r"^  LOAD +\w+ \w+ \w+ (0x[0-9a-f]+) 0x[0-9a-f]+ RW", loads, re.MULTILINE)]
        compared.that(sum(writable) < 1 << 20, f"{sum(writable) >> 10} KiB of writable memory in {len(writable)} pieces")
    line = report["hypervisor"]["command_line"]
    compared.that("secret" in " ".join(line) and product.facts["secret"] not in " ".join(line),
                  f"the command line names the secret and does not tell it: {[w for w in line if 'secret' in w]}")
    hidden = "hvd.scenario" not in " ".join(line)
    compared.that(hidden, "nor the guest's kernel command line", line)
    compared.equal(report["hypervisor"]["run_state"], product.facts["status_before"], "run state")


def _python_reader(product: Product):  # type: ignore[no-untyped-def]
    sys.path.insert(0, str(VECTORS))
    try:
        import hvd_reader
        import hvd_verify
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("hvd"):
            raise
        raise Skip(f"the reader of tests/vectors cannot be used: {error}") from None
    return hvd_reader.Dump(product.hvd), hvd_verify


def check_tools(product: Product, compared: Comparison) -> None:
    """age opens a key slot; the reader written from SPEC.md alone sees the same pages."""
    dump, hvd_verify = _python_reader(product)
    compared.equal(hvd_verify.problems(dump), [], "what the independent reader finds wrong")
    partition = next(p for p in dump.partitions.values() if p.name == product.facts["name"])
    slots = list(partition.of(3).values())
    compared.equal(len(slots), 1, "key slots")
    label = int.from_bytes(slots[0].payload[:2], "little")
    slot = product.folder / "slot.age"
    slot.write_bytes(slots[0].payload[2 + label:])
    opened = subprocess.run([_need("age", "age"), "-d", "-i", product.key, slot], capture_output=True, text=True)
    words = [line.split(" ")[0] for line in opened.stdout.split("\n") if line]
    compared.equal(words, ["hvdump-keys/1", "dump", "partition", "partition-key"], "age -d of a key slot says")
    other = product.folder / "other-key"
    from produce import age_key
    age_key(other)
    denied = subprocess.run(["age", "-d", "-i", other, slot], capture_output=True, text=True)
    compared.that(denied.returncode != 0 and not denied.stdout, "and nothing to another key")
    slot.unlink()

    compared.equal(dump.page(partition, 0).state, "sealed", "a page without the key")
    compared.that(dump.use_identity(partition, product.key), "the independent reader takes the key")
    with mapped(product.need(product.raw)) as raw:
        # Most of a large guest is zero; those pages are quick, and the others count.
        drawn = random.Random(product.facts["secret"]).sample(range(len(raw) // 4096), 16000)
        filled = [n for n in drawn if raw[n * 4096:n * 4096 + 4096] != bytes(4096)]
        chosen = filled[:300] + drawn[:100]
        states: dict[str, int] = {}
        different = []
        for number in sorted(chosen):
            page = dump.page(partition, number)
            states[page.state] = states.get(page.state, 0) + 1
            if bytes(raw[number * 4096:number * 4096 + 4096]) != (page.data or bytes(4096)):
                different.append(number)
    compared.equal(different, [], f"pages that differ, of {states}")
    compared.that(states.get("stored", 0) > 100 and set(states) <= {"stored", "zero", "hole"}, "enough of them stored")
    compared.equal(dump.problems, [], "problems")
    facts = dump.facts(partition)
    compared.that(facts and facts.get("ranges"), f"facts: {sorted(facts or {})}")
    verdict = run_json("hvdump-extract", "verify", product.hvd, "--json")
    compared.equal((verdict["good"], verdict["signer"]), (True, dump.signer.hex()), "verify, signer")
