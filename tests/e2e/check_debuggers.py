"""Other debuggers open the extracted core as it is."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import referees
from check_memory import mapped
from check_stacks import our_frames, plain, printed_entries
from comparison import Comparison
from images import Skip, build_module
from product import Product
from vmcore import ElfDump

HERE = Path(__file__).resolve().parent


def check_gdb(product: Product, compared: Comparison) -> None:
    """By the script that lies beside the core, which finds symbols and the CPU."""
    product.need(product.elf)
    environment = {**os.environ, "HVDUMP_VMLINUX": str(product.vmlinux),
                   "HVDUMP_MODULES": f"{product.kernel.debug_modules}:{build_module(product.kernel).parent}"}
    commands = ["printf \"\\n@@bt\\n\"", "bt", "printf \"\\n@@release\\n\"", "p init_uts_ns.name.release",
                "printf \"\\n@@cmdline\\n\"", "x/s saved_command_line", "printf \"\\n@@threads\\n\"", "info threads"]
    arguments = [word for command in commands for word in ("-ex", command)]
    done = subprocess.run(["gdb", "-nx", "-batch", "-x", f"{product.elf}.gdb", "-ex", "set width 0", *arguments],
                          capture_output=True, text=True, errors="replace", env=environment, timeout=900)
    said = dict(re.findall(r"^@@(\w+)\n(.*?)(?=^@@|\Z)", done.stdout, re.MULTILINE | re.DOTALL))
    compared.that({"bt", "release", "cmdline", "threads"} <= set(said), "gdb ran all commands", done.stderr + done.stdout)
    compared.that(f'"{product.facts["release"]}"' in said["release"], f"release: {said['release'].strip()}")
    compared.that(f"hvd.scenario={product.scenario}" in said["cmdline"], f"command line: {said['cmdline'].strip()}")
    threads = re.findall(r"^[* ]+(\d+) ", said["threads"], re.MULTILINE)
    # gdb tells threads apart by pid, and all idle CPUs' tasks have 0, as in /proc/vmcore.
    tasks = {cpu["task"]["pid"] for cpu in product.guest["cpus"]}
    compared.equal(len(threads), len(tasks), "threads, one for each task that was on a CPU")
    frames = re.findall(r"^#\d+ +(?:0x[0-9a-f]+ in )?(\S+)", said["bt"], re.MULTILINE)
    if product.scenario == "idle":
        compared.that(frames, f"a stack: {frames}")
        return
    printed = [plain(e.symbol) for e in printed_entries(product)]
    if frames[-1:] == ["??"]:  # user mode, of which the core has nothing mapped; nothing may follow it
        frames.pop()
    wanted = [plain(e.symbol) for e in printed_entries(product) if e.module is None]
    compared.that(frames and plain(frames[-1]) == plain(printed[-1]), f"bt ends at the kernel's entry: {frames}", said["bt"])
    rest = iter(map(plain, frames))
    compared.that(all(name in rest for name in wanted), f"bt shows the kernel's functions of the printed trace: {wanted}",
                  said["bt"])


def check_crash(product: Product, compared: Comparison) -> None:
    product.need(product.elf)
    if referees._release(product.elf) >= (6, 4):
        commands = ["sym linux_banner", "rd -a linux_banner"]
        try:
            said = referees.crash(product.elf, product.vmlinux, commands)
        except referees.RefereeError as error:
            # Made before this kernel, crash 8.0.2 asks for 0 bytes where it then reads a stack into, on QEMU's own
            # dump too (valgrind shows it in x86_64_init): sometimes it survives that, sometimes it does not.
            if "ended with -" in str(error):
                raise Skip(f"crash 8.0.2 does not survive this kernel: {error}") from None
            raise
        compared.that("linux_banner" in said["sym linux_banner"], f"sym: {said['sym linux_banner']}")
        compared.that(f"Linux version {product.facts['release']}" in said["rd -a linux_banner"],
                      f"rd: {said['rd -a linux_banner'][:100]}")
        compared.note("crash 8.0.2 can do neither log, bt nor ps of this kernel; left out")
        return
    said = referees.crash(product.elf, product.vmlinux, ["log", "bt", "ps", "mod"])
    ours = [line for record in product.guest["log"] for line in record["text"].split("\n")]
    theirs = said["log"].split("\n")
    compared.that(len(theirs) > 200 and theirs[-1].strip().endswith(ours[-1].strip()), f"log: {len(theirs)} lines",
                  theirs[-3:])
    texts = [re.sub(r"^\[ *\d+\.\d+\] ", "", line).strip() for line in theirs]
    lost = [line for line in ours if line.strip() not in texts and line.strip()]
    compared.equal(lost[:5], [], f"of {len(ours)} lines of our log, not in crash's")
    for cpu in product.guest["cpus"]:
        task = cpu["task"]
        # In the middle of a switch, ps already shows the next one.
        switching = any(f.get("symbol") == "__schedule" for f in cpu["stack"])
        compared.that(re.search(rf"^> +{task['pid']} .*{re.escape(task['comm'])}", said["ps"], re.MULTILINE) or
                      task["pid"] == 0 or switching, f"ps shows {task['pid']} {task['comm']} as running", said["ps"])
    if product.scenario != "idle":
        # crash shows stale frames among the right ones, and loses its way at the jump to the IRQ stack.
        before_jump, jump, _ = said["bt"].partition("--- <IRQ stack>")
        names = [plain(name) for name in re.findall(r"^ *#\d+ \[\w+\] (\S+)", before_jump, re.MULTILINE)]
        wanted = [plain(f["symbol"]) for f in product.crashing_cpu["stack"]]
        if not jump:
            compared.equal(names[-1:], wanted[-1:], f"bt ends, after {len(names)} frames, at")
        common = [name for name in wanted if name in names]
        compared.that("panic" in common and len(common) * (4 if jump else 2) > len(wanted), f"bt shows {common}", said["bt"])
    compared.that("crashme" in said["mod"], "mod shows crashme", said["mod"])


def check_drgn(product: Product, compared: Comparison) -> None:
    """With nothing but the core and the kernel: no aid from the lab."""
    product.need(product.elf)
    script = ("import drgn, json, sys\n"
              "prog = drgn.Program()\n"
              "prog.set_core_dump(sys.argv[1])\n"
              "try: prog.load_debug_info(sys.argv[2:])\n"
              "except drgn.MissingDebugInfoError as e: print(e, file=sys.stderr)\n"
              "out = []\n"
              "from drgn_frames import current\n"
              "for cpu in range(int(prog['nr_cpu_ids'])):\n"
              "    task = current(prog, cpu)\n"
              "    try: pcs = [f.pc for f in prog.stack_trace(task) if f.pc >> 63]\n"
              "    except (ValueError, LookupError) as e: pcs = str(e)\n"
              "    out.append([task.pid.value_(), task.comm.string_().decode(), pcs])\n"
              "print(json.dumps({'release': prog['init_uts_ns'].name.release.string_().decode(), 'cpus': out}))\n")
    done = subprocess.run(["/usr/bin/python3", "-c", script, product.elf, product.vmlinux, *product.modules],
                          capture_output=True, text=True, timeout=900,
                          env={**os.environ, "DRGN_PREFER_ORC_UNWINDER": "1", "PYTHONPATH": str(HERE)})
    if "No module named 'drgn'" in done.stderr:
        raise Skip("drgn is not installed (Debian package python3-drgn)")
    if not compared.that(done.returncode == 0, "drgn opens the core and walks its stacks", done.stderr):
        return
    said = json.loads(done.stdout)
    compared.equal(said["release"], product.facts["release"], "release")
    new = referees._release(product.elf) >= (6, 4)
    for cpu, (pid, comm, pcs) in zip(product.guest["cpus"], said["cpus"]):
        compared.equal((cpu["task"]["pid"], cpu["task"]["comm"]), (pid, comm), f"task of CPU {cpu['id']}")
        ours = [pc for pc, _ in our_frames(cpu["stack"])]
        if not ours:
            compared.equal(pcs, [], f"CPU {cpu['id']} was in user mode")
        elif new or pid == 0:
            # drgn 0.0.22 knows neither this kernel's ORC nor its modules; check `unwind` has aids for that.
            compared.that(pcs and pcs[0] in ours or isinstance(pcs, str), f"CPU {cpu['id']}: {pcs}", ours)
        else:
            inlined_dropped = [pc for i, pc in enumerate(pcs) if i == 0 or pc != pcs[i - 1]]
            # It stops at the jump to the IRQ stack, which check `unwind` helps it over.
            compared.that(len(inlined_dropped) > 3 and ours[:len(inlined_dropped)] == inlined_dropped,
                          f"CPU {cpu['id']}: {len(inlined_dropped)} of {len(ours)} frames, all the same",
                          (list(map(hex, ours)), list(map(hex, inlined_dropped))))


def check_kdumpfile(product: Product, compared: Comparison) -> None:
    core = ElfDump(product.need(product.elf))
    with mapped(product.need(product.raw)) as raw:
        places = sorted({load.pa + (load.size // 2 & ~4095) for load in core.loads})[::max(1, len(core.loads) // 24)]
        for pa in places:
            theirs = referees.kdumpfile_read(product.elf, pa, 4096)
            compared.that(theirs == raw[pa:pa + 4096], f"libkdumpfile reads the same page at {pa:#x}")


def check_readelf(product: Product, compared: Comparison) -> None:
    done = subprocess.run(["readelf", "-lhnW", product.need(product.elf)], capture_output=True, text=True, timeout=300)
    compared.equal((done.returncode, done.stderr), (0, ""), "readelf's exit and complaints")
    elf = referees.readelf(product.elf)
    loads = [s for s in elf.segments if s[0] == "LOAD"]
    compared.that(0 < len(loads) < 5000, f"{len(loads)} loadable segments")
    # Holes count for little on disk, but the file must not hold the same memory several times.
    end = max(s[1] + s[4] for s in loads)
    ram = sum(load.size for load in _distinct(product))
    compared.that(end <= ram + (16 << 20), f"data end at {end >> 20} MiB for {ram >> 20} MiB of RAM")
    owners = [owner for owner, _ in elf.notes]
    compared.equal(owners.count("CORE"), product.facts["options"]["cpus"], "NT_PRSTATUS notes")
    compared.that("VMCOREINFO" in owners, f"notes: {owners}")
    mapped_at = {s[2] for s in loads}
    compared.equal(len(mapped_at), len(loads), "virtual addresses, all different")


def _distinct(product: Product) -> list:  # type: ignore[type-arg]
    seen = {}
    for load in ElfDump(product.elf).loads:
        seen.setdefault(load.offset, load)
    covered, out = 0, []
    for load in sorted(seen.values(), key=lambda s: (s.offset, -s.size)):
        if load.offset + load.size > covered:
            out.append(load)
            covered = load.offset + load.size
    return out
