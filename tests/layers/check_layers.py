#!/usr/bin/env python3
"""Checks that the code keeps to the layers: who may include whom, and who may link LLVM.

usage: check_layers.py SOURCE_FOLDER [CAPTURE_PROGRAM]
       check_layers.py --self-test
"""
import pathlib
import re
import subprocess
import sys
import tempfile

MIDDLE = {"formats", "envelope", "guest"}
APPLICATIONS = {"capture", "extractor", "decrypt", "analyzer"}
LAYERS = {"base"} | MIDDLE | APPLICATIONS
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')


BLAKE3 = "llvm-c/blake3.h"  # the one piece of LLVM that what every program links may use


def layer_of(path):
    """The layer of a file or include, given relative to the source folder; None for anything else."""
    layer, slash, _ = path.partition("/")
    return layer if slash and layer in LAYERS else None


# What shares a layer and yet stands apart: neither includes the other.
APART = ({"capture/qemu", "capture/host"},)
# Any Linux must be known without the one that runs virtual machines, and no kernel through another.
BELOW = {"guest/linux": ("guest/kvm_host", "guest/windows"), "guest/windows": ("guest/kvm_host", "guest/linux"),
         "guest/x86_64": ("guest/linux", "guest/kvm_host", "guest/windows")}


def apart(relative, included):
    here, there = relative.rpartition("/")[0], included.rpartition("/")[0]
    return {here, there} in APART or there in BELOW.get(here, ())


def may_include(layer):
    if layer == "base":
        return {"base"}
    if layer in MIDDLE:
        return {"base", layer}
    return {"base", layer} | MIDDLE


def violations_of(relative, text):
    layer = layer_of(relative)
    for number, line in enumerate(text.splitlines(), 1):
        match = INCLUDE.match(line)
        if not match:
            continue
        bracket, included = match.groups()
        where = f"{relative}:{number}: "
        if included == BLAKE3 and relative == "formats/hvd/integrity.cc":
            continue
        if included.startswith(("llvm/", "llvm-c/")):
            if not (relative.startswith("guest/debuginfo/") and relative.endswith(".cc")):
                yield where + f"only guest/debuginfo/*.cc may include LLVM, not <{included}>"
            continue
        if bracket == "<":
            if layer_of(included):
                yield where + f"our own {included} is included with angle brackets, which hides it"
            continue
        if included.startswith(("../", "./")) or "/../" in included:
            yield where + f"{included} is relative: write it from the source folder on"
            continue
        target = layer_of(included)
        if target is None:
            yield where + f"{included} is in no layer"
        elif target not in may_include(layer):
            yield where + f"{layer} must not include {target} ({included})"
        elif layer == "capture" and included.startswith("guest/debuginfo/"):
            yield where + f"capture must not use {included}: it would link LLVM"
        elif apart(relative, included):
            yield where + f"{relative.rpartition('/')[0]} must not include {included}"


def check_tree(root):
    found, seen = [], 0
    for layer in sorted(LAYERS):
        for path in sorted((root / layer).rglob("*")):
            if path.suffix in (".h", ".cc"):
                seen += 1
                found += violations_of(path.relative_to(root).as_posix(), path.read_text())
    if seen == 0:
        found.append(f"{root} holds no sources")
    return found


def check_program(program):
    """Direct and indirect libraries of the capture program."""
    libraries = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    if "libc.so" not in libraries:
        return [f"ldd says nothing useful about {program}"]
    found = [f"{program} links {line.split()[0]}" for line in libraries.splitlines() if "LLVM" in line]
    symbols = subprocess.run(["nm", "--defined-only", program], capture_output=True, text=True, check=False).stdout
    names = {line.split()[-1] for line in symbols.splitlines() if line.strip()}
    if not names:
        return found + [f"{program} has no symbols to judge what it links by"]
    ours = [name for name in sorted(names) if re.match(r"_ZN?K?4llvm|LLVM(?!_BLAKE3_)|llvm_(?!blake3_)", name)]
    return found + [f"{program} holds LLVM's {name}" for name in ours[:5]]


SELF_TEST = [
    # path, text, whether it is a violation
    ("base/a.h", '#include "base/b.h"\n#include <vector>\n', False),
    ("base/a.h", '#include "formats/b.h"\n', True),
    ("base/a.cc", '#include "tests/support/b.h"\n', True),
    ("formats/a.cc", '#include "base/b.h"\n#include "formats/hvd/b.h"\n', False),
    ("formats/a.cc", '#include "envelope/b.h"\n', True),
    ("formats/hvd/a.cc", '#include "guest/b.h"\n', True),
    ("guest/linux/a.cc", '#include "formats/b.h"\n', True),
    ("envelope/a.cc", '#include "formats/b.h"\n', True),
    ("envelope/a.cc", '#include "decrypt/b.h"\n', True),
    ("decrypt/a.cc", '#include "formats/b.h"\n#include "envelope/b.h"\n', False),
    ("decrypt/a.cc", '#include "capture/b.h"\n', True),
    ("capture/a.cc", '#include "guest/linux/b.h"\n#include "envelope/b.h"\n', False),
    ("capture/a.cc", '#include "analyzer/b.h"\n', True),
    ("capture/a.cc", '#include "guest/debuginfo/line_table.h"\n', True),
    ("capture/a.cc", '#include "capture/qemu/b.h"\n', False),
    ("capture/qemu/a.cc", '#include "capture/b.h"\n#include "capture/qemu/c.h"\n', False),
    ("capture/qemu/a.cc", '#include "capture/host/b.h"\n', True),
    ("capture/host/a.h", '#include "capture/qemu/b.h"\n', True),
    ("capture/a.cc", '#include <formats/b.h>\n', True),
    ("extractor/a.cc", '#include "capture/b.h"\n', True),
    ("analyzer/a.cc", '#include "guest/debuginfo/line_table.h"\n', False),
    ("analyzer/a.cc", '#include <llvm/Support/Error.h>\n', True),
    ("analyzer/a.cc", '  #  include "../extractor/b.h"\n', True),
    ("guest/kvm_host/a.cc", '#include "guest/linux/b.h"\n', False),
    ("guest/linux/a.cc", '#include "guest/kvm_host/b.h"\n', True),
    ("guest/windows/a.cc", '#include "guest/linux/b.h"\n', True),
    ("formats/hvd/integrity.cc", '#include <llvm-c/blake3.h>\n', False),
    ("formats/hvd/integrity.cc", '#include <llvm-c/Core.h>\n', True),
    ("formats/hvd/dump.cc", '#include <llvm-c/blake3.h>\n', True),
    ("guest/debuginfo/a.cc", '#include <llvm/Support/Error.h>\n', False),
    ("guest/debuginfo/a.h", '#include <llvm/Support/Error.h>\n', True),
    ("guest/linux/a.cc", '#include "llvm/Support/Error.h"\n', True),
]


def self_test():
    wrong = []
    for path, text, is_violation in SELF_TEST:
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder) / path
            file.parent.mkdir(parents=True)
            file.write_text(text)
            if bool(check_tree(pathlib.Path(folder))) != is_violation:
                wrong.append(f"{path}: {text!r} is {'not ' if is_violation else ''}reported")
    with tempfile.TemporaryDirectory() as folder:
        if not check_tree(pathlib.Path(folder)):
            wrong.append("an empty folder passes")
    return wrong


def main(arguments):
    if arguments == ["--self-test"]:
        problems = self_test()
    elif 1 <= len(arguments) <= 2:
        problems = check_tree(pathlib.Path(arguments[0]))
        if len(arguments) == 2:
            problems += check_program(arguments[1])
    else:
        sys.exit(__doc__)
    for problem in problems:
        print(problem)
    sys.exit(1 if problems else 0)


main(sys.argv[1:])
