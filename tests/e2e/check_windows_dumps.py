"""Checks: dumps of Windows' own kinds, what others read in them, and what of the guest is sealed."""

from __future__ import annotations

import json
import struct
import subprocess
from pathlib import Path

from check_windows_report import NOT_IN_A_CONTEXT, check_report, check_stack
from comparison import Comparison
from images import Skip
from product import run, run_json
from vmcore import ElfDump
from windows_dump_file import HEADER_FIELDS, REGISTERS, WindowsDumpFile
from windows_guest import PAGE, VARIANTS
from windows_product import Windows, tenant_of

DUMPS = {"full": 1, "bitmap": 5, "kernel": 6, "triage": 4}


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
            check_stack(windows, compared, "triage", guest["cpus"][guest["crash"]["cpu"]]["stack"], windows.truth.crashed_thread(),
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
