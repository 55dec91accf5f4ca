#!/usr/bin/python3
"""check_windows.py KIND FOLDER: compares a guest of produce_windows.py with what is true of it.

Exit status: 0 all equal, 1 not, 77 the referee for it is not there.  Prints what was compared.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from check_triage import validate
from comparison import Comparison
from images import LabError
from product import Failure, Product, Skip, run, run_json
from vmcore import ElfDump
from windows_dump_file import HEADER_FIELDS, REGISTERS, WindowsDumpFile
from windows_guest import IMAGES, PAGE, VARIANTS, Truth

# What the report has to say of how Windows was found.
FOUND = {
    "plain": ["page tables: CR3 of CPU 0", "debugger data: in the clear at"],
    "note": ["header: from the guest's driver", "debugger data: where the header says"],
    "kaslr": ["kernel: by an interrupt's handler", "debugger data: in the clear at"],
    "encoded": ["debugger data: decoded with a key derived from the block itself"],
    "encoded-note": ["header: from the guest's driver", "debugger data: where the header says"],
    "shadow": ["debugger data: decoded with a key derived from the block itself"],
    "large": ["debugger data: decoded with a key derived from the block itself"],
    "la57": ["debugger data: in the clear at"],
    "live": ["page tables: those that the KPCR of CPU 0 names", "debugger data: in the clear at"],
}
DUMPS = {"full": 1, "bitmap": 5, "kernel": 6, "triage": 4}
SHORT = {"ntoskrnl.exe": "nt", "archive.sys": "archive", "tapebus.sys": "tapebus"}


class Windows(Product):
    @cached_property
    def truth(self) -> Truth:
        return Truth(self.console, (self.folder / "registers").read_text(), Path(self.facts["images"]))

    @property
    def crashes(self) -> bool:
        return "live" not in VARIANTS[self.scenario]

    @property
    def cpu_count(self) -> int:
        return 4 if self.crashes else 1

    def expected_stack(self, thread: int, rip: int | None) -> list[tuple[int, bool]]:
        """Addresses from where it is to its first function, and whether each is a return address."""
        calls = self.truth.calls.get(thread, [])
        return ([(rip, False)] if rip is not None else []) + calls[::-1]

    def user_secret(self, process: int) -> bytes:
        """What the loader has put into a page that only this process has mapped."""
        return struct.pack("<QQQ", 0x5453455743455355, self.facts["seed"], process)


def tenant_of(report: Any) -> Any:
    return next(p for p in report["partitions"] if p["name"] == "tenant" or len(report["partitions"]) == 1)


# ---- triage ----


def _check_stack(windows: Windows, compared: Comparison, what: str, stack: Any, thread: int, rip: int | None,
                 with_symbols: bool) -> None:
    expected = windows.expected_stack(thread, rip)
    compared.equal([int(f["address"], 16) for f in stack], [at for at, _ in expected], f"{what}: addresses of frames")
    compared.that(all(f["reliable"] for f in stack), f"{what}: none of them a guess")
    wrong, unnamed = [], 0
    for frame, (at, returns) in zip(stack, expected):
        if at >> 63 == 0:  # user mode: no module there
            continue
        symbol = windows.truth.symbol(at, returns)
        named = SHORT[symbol.image], symbol.name, symbol.offset
        if "symbol" in frame:
            if (frame["module"], frame["symbol"], frame["offset"]) != named:
                wrong.append((frame, named))
        else:
            unnamed += 1
            base = windows.truth.modules[symbol.image][0]
            if with_symbols or (frame["module"], frame["offset"]) != (named[0], at - base):
                wrong.append((frame, named))
    compared.equal(wrong, [], f"{what}: names that are not true")
    if not with_symbols and len(stack) > 8:
        compared.that(0 < unnamed < len(stack), f"{what}: {unnamed} of {len(stack)} frames have a module only")


# What a Windows dump's CONTEXT has no room for.
NOT_IN_A_CONTEXT = frozenset({"cr0", "cr2", "cr3", "cr4", "fs_base", "gs_base"})


def _check_cpus(windows: Windows, compared: Comparison, guest: Any, with_symbols: bool,
                untold: frozenset[str] = frozenset()) -> None:
    truth = windows.truth
    registers = truth.cpu_registers()
    compared.equal([c["id"] for c in guest["cpus"]], list(range(windows.cpu_count)), "CPUs")
    running = {truth.crashed_thread(): 1} if windows.crashes else {}
    for at, (_, number) in truth.threads.items():
        if number in (20, 1312) and windows.crashes:
            running[at] = {20: 2, 1312: 3}[number]
        elif number == 1312:
            running[at] = 0
        elif number == 0 and at == next(iter(truth.threads)) and windows.crashes:
            running[at] = 0
    for cpu in guest["cpus"]:
        own = registers[cpu["id"]]
        ours = {name: int(value, 16) for name, value in cpu["registers"].items()}
        names = {"rfl": "rflags"}
        # Of flat segments nobody keeps the base.
        compared.equal({n for n in own if names.get(n, n) not in ours},
                       ({"cs_base", "ds_base", "es_base", "ss_base"} | untold) & set(own),
                       f"CPU {cpu['id']}: registers not told")
        compared.equal({n: ours[names.get(n, n)] for n in own if names.get(n, n) in ours}, {n: v for n, v in own.items()
                       if names.get(n, n) in ours}, f"CPU {cpu['id']}: {len(own)} registers")
        thread = next(at for at, where in running.items() if where == cpu["id"])
        _check_stack(windows, compared, f"CPU {cpu['id']}", cpu["stack"], thread, own["rip"], with_symbols)
        process, number = truth.threads[thread]
        task = {"pid": number, "comm": _name(truth, process)} if process else None
        compared.equal(cpu["task"], task, f"CPU {cpu['id']}: what it runs")
    for task in guest["tasks"]:
        at = next(at for at, ids in truth.threads.items() if ids == (task["tgid"], task["pid"]))
        if at in running:
            compared.equal((task["state"], task["cpu"]), ("R", running[at]), f"thread {task['pid']} runs")
            continue
        if not truth.calls.get(at):
            compared.equal([f.get("symbol", "KiStartSystemThread") for f in task["stack"]], ["KiStartSystemThread"],
                           f"thread {task['pid']}, which never ran")
            continue
        compared.equal((task["state"], task["cpu"]), ("S", None), f"thread {task['pid']} waits")
        _check_stack(windows, compared, f"thread {task['pid']}", task["stack"], at, None, with_symbols)


def _name(truth: Truth, process: int) -> str:
    return next(name for name, number, _ in truth.processes if number == process)


def check_report(windows: Windows, compared: Comparison, guest: Any, with_symbols: bool,
                 untold: frozenset[str] = frozenset()) -> None:
    """One partition of a report, with or without PDBs; `untold` are registers that its source does not keep."""
    truth = windows.truth
    compared.equal(guest["os"]["family"], "windows", "family")
    compared.equal(guest["os"]["release"], "10.0.19041", "release")
    crash = guest["crash"]
    if windows.crashes:
        compared.equal((crash["kind"], crash["cpu"]), ("bugcheck", 1), "kind of crash, CPU")
        name = {0xD1: "DRIVER_IRQL_NOT_LESS_OR_EQUAL", 0x9F: "DRIVER_POWER_STATE_FAILURE"}[truth.bugcheck[0]]
        told = f"{truth.bugcheck[0]:#X} {name} ({', '.join(f'{p:#x}' for p in truth.bugcheck[1:])})".replace("0X", "0x")
        compared.equal(crash["reason"], told, "bug check")
        guilty = "tapebus" if with_symbols or truth.bugcheck[0] == 0x9F else "tapebus+"
        function = {0xD1: "!TapeCopyBlock", 0x9F: "!TapeWrite"}[truth.bugcheck[0]] if guilty == "tapebus" else "0x1"
        compared.that(crash["bucket_frames"][1].startswith(guilty + function), f"bucket of {crash['bucket_frames']}",
                      guilty + function)
    else:
        compared.equal((crash["kind"], crash["cpu"]), ("none", None), "kind of crash, CPU")
    compared.equal(crash["time"], 42.0, "up time")
    for module, image in zip(guest["modules"], IMAGES, strict=True):
        base, size = truth.modules[image]
        compared.equal(module, {"name": image, "base": f"{base:#x}", "size": size, "version": IMAGES[image][1],
                                "build_id": module["build_id"]} | truth.image_facts(image), f"module {image}")
    tasks = sorted((t["tgid"], t["pid"], t["comm"]) for t in guest["tasks"])
    compared.equal(tasks, sorted((p, t, _name(truth, p)) for p, t in truth.threads.values() if p), "processes and threads")
    _check_cpus(windows, compared, guest, with_symbols, untold)
    unloaded = next(f for f in guest["findings"] if f["rule"] == "unloaded-modules")
    begin = truth.modules["archive.sys"][0] + 0x800000
    compared.equal(unloaded["evidence"], [f"dump_archive.sys {begin:#x}-{begin + 0x9000:#x}"], "unloaded drivers")


def check_triage(windows: Windows, compared: Comparison) -> None:
    """The sealed dump, without and with PDBs."""
    report = json.loads(windows.analyze("triage"))
    validate(report, compared)
    guest = tenant_of(report)
    found = next(f for f in guest["findings"] if f["rule"] == "windows-found")["evidence"]
    for start in FOUND[windows.scenario]:
        compared.that(any(line.startswith(start) for line in found), f"found: {start}", found)
    if windows.crashes:
        told = next(f for f in guest["findings"] if f["rule"] == "panic-reported")["evidence"]
        compared.that(len(told) == 1 and told[0].startswith("CPU 1") and ("hyper-v" in told[0]) == (windows.scenario == "kaslr"),
                      "what QEMU was told", told)
    damage = [f for f in guest["findings"] if f["rule"] == "damage"]
    compared.equal(damage, [], "complaints")
    check_report(windows, compared, guest, False)
    images = windows.facts["images"]
    guest = tenant_of(json.loads(windows.analyze("triage", "--symbols", images)))
    check_report(windows, compared, guest, True)
    if "encoded" in VARIANTS[windows.scenario] and "note" not in VARIANTS[windows.scenario]:
        found = next(f for f in guest["findings"] if f["rule"] == "windows-found")["evidence"]
        compared.that("debugger data: decoded with the kernel's symbols" in found, "PDBs come before derived keys", found)


def _analyze(windows: Windows, path: str, *arguments: str) -> tuple[Any, str]:
    """The tenant's part of the report with that _NT_SYMBOL_PATH, and what went to standard error."""
    done = run("hvdump-analyze", "triage", windows.hvd, "--identity", windows.key, *arguments,
               env=os.environ | {"_NT_SYMBOL_PATH": path, "NO_PROXY": "*"})
    return tenant_of(json.loads(done.stdout)), done.stderr.decode()


def _missing(guest: Any) -> list[str]:
    return [f["text"] for f in guest["findings"] if f["rule"] == "symbols-missing"]


def check_store(windows: Windows, compared: Comparison) -> None:
    """PDBs out of symbol stores: a folder, and HTTP on this machine, which has what a folder has."""
    store, images = windows.folder / "store", Path(windows.facts["images"])
    for image, (pdb, _) in IMAGES.items():
        place = store / pdb / windows.truth.image_facts(image)["pdb"]["key"] / pdb
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes((images / pdb).read_bytes())
    guest, _ = _analyze(windows, f"srv*{store}")
    _check_cpus(windows, compared, guest, True)

    files = sorted(store.glob("*/*/*.pdb"))
    with serve(store) as (address, asked):
        cache = windows.folder / "cache"
        guest, said = _analyze(windows, f"{windows.folder / 'nothing'};srv*{cache}*{address}/")
        _check_cpus(windows, compared, guest, True)
        compared.equal((_missing(guest), said), ([], ""), "complaints")
        compared.equal(sorted(asked), sorted(f"/{p.relative_to(store)}" for p in files), "asked for, once each")
        compared.that(all((cache / p.relative_to(store)).read_bytes() == p.read_bytes() for p in files),
                      "the folder in front of the server has them now")
        asked.clear()
        guest, _ = _analyze(windows, f"srv*{cache}*{address}")
        _check_cpus(windows, compared, guest, True)
        compared.equal(asked, [], "asked for when they are in the folder")
        # One that the server does not have, and one that is another build's, or none.
        lost = next(p for p in files if p.name == "archive.pdb")
        lost.unlink()
        next(p for p in files if p.name == "tapebus.pdb").write_bytes(b"nothing like a PDB")
        guest, _ = _analyze(windows, f"srv*{windows.folder / 'other'}*{address}")
        names = [f.get("symbol") for f in guest["cpus"][-1 if not windows.crashes else 1]["stack"]]
        compared.that("KeBugCheck2" in names or not windows.crashes, "the kernel's are used", names)
        compared.that("ArchiveFlush" not in names, "the lost ones are not", names)
        compared.that(len(_missing(guest)) == 1 and "tapebus" in _missing(guest)[0], "the wrong one is told", _missing(guest))
        kept = [p.name for p in (windows.folder / "other").glob("*/*/*")]
        compared.equal(kept, ["ntkrnlmp.pdb"], "kept of what was fetched")
    # The server is gone now.
    guest, _ = _analyze(windows, f"srv*{windows.folder / 'third'}*{address}")
    compared.that(len(_missing(guest)) == 1 and address in _missing(guest)[0], "an absent server is told, once", _missing(guest))
    left = [p for p in (windows.folder / "third").rglob("*") if p.is_file()]
    compared.equal(left, [], "half files")


@contextmanager
def serve(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """An HTTP server of the folder on loopback: its address, and the paths that it was asked for."""
    asked: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def log_request(self, *_: Any) -> None:
            asked.append(self.path)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=folder)) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
            thread.join()


def check_commands(windows: Windows, compared: Comparison) -> None:
    """bt, ps, modules and read say what the report says."""
    guest = tenant_of(json.loads(windows.analyze("triage")))
    for command, key in (("ps", "tasks"), ("modules", "modules")):
        said = json.loads(windows.analyze(command, "--json"))
        said = said if isinstance(said, list) else said.get(key, said)
        compared.equal(len(said), len(guest[key]), f"{command}: how many")
    base, _ = windows.truth.modules["archive.sys"]
    shown = json.loads(windows.analyze("read", f"{base:#x}", "64", "--json"))
    header = (Path(windows.facts["images"]) / "archive.sys").read_bytes()[:64]
    compared.that(header.hex() in json.dumps(shown), "read: the driver's header", shown)
    text = windows.analyze("bt").decode()
    compared.that("KeBugCheckEx" in text or not windows.crashes, "bt names KeBugCheckEx", text)


# ---- sealing ----


def check_sealed(windows: Windows, compared: Comparison) -> None:
    data = windows.hvd.read_bytes()
    raw = windows.raw.read_bytes()
    secrets = {"a user page's secret": windows.user_secret(1), "another's": windows.user_secret(2),
               "a process's name": b"archiver.exe", "the header of a driver": raw_header(windows)}
    run("hvdump-extract", "hypervisor", windows.hvd, "-o", windows.hypervisor)
    image = b"".join(p.read_bytes() for p in sorted(windows.hypervisor.rglob("*")) if p.is_file()) \
        if windows.hypervisor.is_dir() else windows.hypervisor.read_bytes()
    for what, secret in secrets.items():
        compared.that(secret in raw, f"{what} is in the guest's memory")
        compared.that(secret not in data, f"{what} is not in the dump as it is stored")
        compared.that(secret not in image, f"{what} is not in the hypervisor image")
    locked = json.loads(run("hvdump-analyze", "triage", windows.hvd).stdout)
    guest = next(p for p in locked["partitions"] if p["name"] == "tenant")
    compared.that("archiver" not in json.dumps(guest) and not guest.get("modules"), "a locked report tells nothing", guest)


def raw_header(windows: Windows) -> bytes:
    """Enough of a driver's image to be found nowhere else."""
    return (Path(windows.facts["images"]) / "tapebus.sys").read_bytes()[0x80:0x180]


# ---- dumps ----


def _check_demands(dump: WindowsDumpFile, compared: Comparison, kind: str) -> None:
    """What readers of Windows dumps insist on."""
    context = dump.context()
    if kind != "triage":
        compared.equal(context["mxcsr"], context["mxcsr2"], f"{kind}: MxCsr and MxCsr2")
        compared.that(dump.size >= 16 << 20, f"{kind}: at least 16 MiB")
    if kind in ("bitmap", "kernel"):
        first, bits, present = dump.first_page, dump.bits, dump.bitmap_count()
        compared.that(first % PAGE == 0 and first <= 16 << 20 and bits % 64 == 0, f"{kind}: first page, bits", (first, bits))
        compared.equal(dump.total_present, present, f"{kind}: pages present")


def _check_memory(windows: Windows, compared: Comparison, kind: str, dump: WindowsDumpFile, raw: bytes) -> None:
    """Byte for byte the guest's, but for the block of debugger data and the contexts of CPUs."""
    pages = dump.pages()
    different = [n for n, page in pages.items() if page != raw[n * PAGE:n * PAGE + PAGE]]
    contexts = windows.cpu_count * 0x4D0 + (0x380 if "encoded" in VARIANTS[windows.scenario] else 0)
    changed = sum(a != b for n in different for a, b in zip(pages[n], raw[n * PAGE:n * PAGE + PAGE]))
    compared.that(len(different) <= 5 and changed <= contexts,
                  f"{kind}: {len(pages)} pages, of which {changed} bytes in {len(different)} are not the guest's", different)
    # What debuggers look for, and a running system has otherwise.
    plain = struct.pack("<4sIQ", b"KDBG", 0x380, windows.truth.modules["ntoskrnl.exe"][0])
    compared.that(any(plain in page for page in pages.values()), f"{kind}: debugger data in the clear")
    for number, cpu in enumerate(windows.truth.cpu_registers()):
        saved = struct.pack("<17Q", *(cpu[name] for name in REGISTERS))
        compared.that(any(saved in pages[n] + pages.get(n + 1, b"") for n in different),
                      f"{kind}: the context of CPU {number}")
    if kind != "kernel":
        compared.equal(len(pages), len(raw) // PAGE, f"{kind}: pages")
    else:
        compared.that(100 < len(pages) < len(raw) // PAGE // 4, f"kernel: {len(pages)} pages")
    for process in (1, 2):
        secret = windows.user_secret(process)
        inside = any(secret in page for page in pages.values())
        compared.equal(inside, kind != "kernel", f"{kind}: has the user memory of process {process}")


def _check_header(windows: Windows, compared: Comparison, kind: str, dump: WindowsDumpFile) -> None:
    truth, cpus = windows.truth, windows.truth.cpu_registers()
    compared.equal(dump.field("dump_type"), DUMPS[kind], f"{kind}: type")
    compared.equal([dump.field(n) for n in ("machine", "processors", "product_type", "suite_mask")],
                   [0x8664, windows.cpu_count, 3, 0x110], f"{kind}: machine, processors, product, suite")
    if windows.crashes:
        compared.equal([dump.field(f"bugcheck_{n}") for n in ("code", "1", "2", "3", "4")], truth.bugcheck,
                       f"{kind}: bug check")
        context = dump.context()
        compared.equal({n: context[n] for n in context if n in cpus[1]}, {n: cpus[1][n] for n in context if n in cpus[1]},
                       f"{kind}: the crashing CPU's context")
    compared.equal((dump.field("system_time"), dump.field("up_time")), (0x01DC5D0000000000 + 420000000, 420000000),
                   f"{kind}: times")


def check_dumps(windows: Windows, compared: Comparison) -> None:
    """Each type of dump, as a file and as our own analyzer sees it."""
    raw = windows.raw.read_bytes()
    images = windows.facts["images"]
    qemu = ElfDump(windows.qemu_dump)
    wrong = [hex(load.pa + at) for load in qemu.loads for at in range(0, load.size, 1 << 20)
             if load.pa + load.size <= len(raw) and qemu.read(load.pa + at, min(1 << 20, load.size - at))
             != raw[load.pa + at:load.pa + min(at + (1 << 20), load.size)]]
    compared.equal(wrong, [], "the guest's memory, where it is not as in QEMU's own dump")
    for kind in DUMPS:
        dump = WindowsDumpFile(windows.windows_dump(kind))
        _check_header(windows, compared, kind, dump)
        _check_demands(dump, compared, kind)
        if kind != "triage":
            _check_memory(windows, compared, kind, dump, raw)
            report = run_json("hvdump-analyze", "triage", windows.windows_dump(kind), "--symbols", images)
            if windows.crashes:
                check_report(windows, compared, tenant_of(report), True, NOT_IN_A_CONTEXT)
            continue
        data = windows.windows_dump(kind).read_bytes()
        compared.that(len(data) < 2 << 20, f"triage: {len(data) >> 10} KiB")
        for process in (1, 2):
            compared.that(windows.user_secret(process) not in data, f"triage: no user memory of process {process}")
        if windows.crashes:
            guest = tenant_of(run_json("hvdump-analyze", "triage", windows.windows_dump(kind), "--symbols", images))
            _check_stack(windows, compared, "triage", guest["cpus"][guest["crash"]["cpu"]]["stack"], windows.truth.crashed_thread(),
                         windows.truth.cpu_registers()[1]["rip"], True)
            compared.equal([(m["name"], m["base"]) for m in guest["modules"]],
                           [(n, f"{b:#x}") for n, (b, _) in windows.truth.modules.items()], "triage: modules")


def check_import(windows: Windows, compared: Comparison) -> None:
    """Dumps of Windows' own kinds, sealed in an .hvd: the same report, and the same file again."""
    recipient = next(line.split()[-1] for line in windows.key.read_text().splitlines() if "age1" in line)
    wrapped = windows.folder / "imported.hvd"
    for kind in DUMPS:
        dump = windows.windows_dump(kind)
        run("hvdump-capture", "import", dump, "--name", "tenant", "--recipient", f"tenant={recipient}", "-o", wrapped)
        compared.that(windows.user_secret(1) not in wrapped.read_bytes() and b"archiver" not in wrapped.read_bytes(),
                      f"{kind}: sealed")
        theirs = tenant_of(run_json("hvdump-analyze", "triage", dump))
        ours = tenant_of(run_json("hvdump-analyze", "triage", wrapped, "--identity", windows.key))
        for part in ("os", "crash", "cpus", "tasks", "modules"):
            compared.that(ours[part] == theirs[part], f"{kind}: {part} in the report",
                          f"{json.dumps(ours[part])[:500]}\n{json.dumps(theirs[part])[:500]}")
    wrapped.unlink()


def check_qemu(windows: Windows, compared: Comparison) -> None:
    """QEMU's own dump of the same paused guest: the header field by field, the memory byte for byte."""
    if "note" not in VARIANTS[windows.scenario].split():
        raise Skip("without a header from the guest's driver QEMU writes no Windows dump")
    ours, theirs = WindowsDumpFile(windows.windows_dump("full")), WindowsDumpFile(windows.qemu_windows_dump)
    # Where ours differs on purpose: all memory rather than what the driver listed, and times, which QEMU leaves
    # unset. QEMU also leaves the context and the exception unset, and clears the padding behind the code.
    better = {"required_dump_space", "run_count", "page_count", "system_time", "up_time"}
    if "encoded" in VARIANTS[windows.scenario]:
        better.add("debugger_data")  # QEMU names the decoded copy; ours is decoded in its place
    for name in HEADER_FIELDS:
        if name in better:
            compared.that(ours.field(name) != theirs.field(name), f"{name}: ours {ours.field(name):#x}, QEMU's "
                          f"{theirs.field(name):#x}")
        else:
            compared.equal(ours.field(name), theirs.field(name), name)
    pages, others = ours.pages(), theirs.pages()
    compared.that(set(others) <= set(pages), f"all of QEMU's {len(others)} pages are in ours")
    changed = {n for n in others if pages[n] != others[n]}
    raw = windows.raw.read_bytes()
    corrected = {n for n in pages if pages[n] != raw[n * PAGE:n * PAGE + PAGE]}
    compared.that(changed <= corrected and len(changed) <= 5, f"pages that differ: {sorted(changed)}", sorted(corrected))
    # In those: QEMU has the debug registers, and not all flags that say which registers are valid.
    for number, cpu in enumerate(windows.truth.cpu_registers()):
        saved = struct.pack("<17Q", *(cpu[name] for name in REGISTERS))
        for what, file in (("ours", pages), ("QEMU's", others)):
            compared.that(any(saved in file[n] + file.get(n + 1, b"") for n in changed),
                          f"{what} has the context of CPU {number}")


def check_referees(windows: Windows, compared: Comparison) -> None:
    script = Path(__file__).parents[1] / "referees" / "windows_dumps.py"
    done = subprocess.run(["/usr/bin/python3", script, windows.raw, *(windows.windows_dump(k) for k in DUMPS)],
                          capture_output=True, text=True, check=False)
    print(done.stdout + done.stderr)
    if done.returncode == 77:
        raise Skip("no reader of Windows dumps is at hand: see tests/referees/windows_dumps.py")
    compared.equal(done.returncode, 0, "readers of Windows dumps")


KINDS = {"triage": check_triage, "store": check_store, "commands": check_commands, "sealed": check_sealed, "dumps": check_dumps,
         "import": check_import, "qemu": check_qemu, "referees": check_referees}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    compared = Comparison()
    try:
        windows = Windows(options.folder.resolve())
        _ = windows.facts
        KINDS[options.kind](windows, compared)
    except Skip as reason:
        if compared.failures:
            return compared.verdict()
        print(f"SKIPPED: {reason}")
        return 77
    except (Failure, LabError) as error:
        print(f"FAILED: {error}")
        return 1
    return compared.verdict()


if __name__ == "__main__":
    sys.exit(main())
