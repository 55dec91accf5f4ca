#!/usr/bin/python3
"""The programs as a user calls them, on samples/ and on files that the tests make.

    cli_test.py BUILD [SUITE[.CASE] ...]        runs the suites (default: all) with the programs of a build folder
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "samples" / "sample.hvd"
SAMPLE_KEY = ROOT / "samples" / "sample.key"
KERNEL_TEXT = b"this is the kernel's page"
SECRET = b"this is the tenant's secret"
PAGE = 4096

COMMANDS = {
    "capture": ["qemu", "machine", "import", "receive"],
    "extract": ["list", "verify", "ledger", "hypervisor", "partition"],
    "decrypt": ["keygen", "list", "slot", "recover", "grant"],
    "analyze": ["triage", "log", "bt", "ps", "modules", "read"],
}
FOLDERS = {"capture": "capture", "extract": "extractor", "decrypt": "decrypt", "analyze": "analyzer"}

DONE, FAILED, USAGE, DAMAGED, NOT_AUTHORISED = range(5)  # the exit codes of README.md

build = ROOT / "build" / "dev"


class Finished:
    """What a program left: its exit code, standard output (as bytes and as text) and standard error."""

    def __init__(self, done: subprocess.CompletedProcess[bytes]) -> None:
        self.code, self.bytes = done.returncode, done.stdout
        self.out, self.err = done.stdout.decode(errors="replace"), done.stderr.decode()


class Case(unittest.TestCase):
    """Each case has a new folder, in which the programs run."""

    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory(prefix="hvdump-cli.")
        self.addCleanup(scratch.cleanup)
        self.folder = Path(scratch.name)

    def program(self, name: str) -> Path:
        return build / FOLDERS[name] / f"hvdump-{name}"

    def call(self, name: str, *arguments: object) -> Finished:
        environment = {**os.environ, "COLUMNS": "80", "LC_ALL": "C.UTF-8"}
        return Finished(subprocess.run([self.program(name), *map(str, arguments)], cwd=self.folder, env=environment,
                                       stdin=subprocess.DEVNULL, capture_output=True, timeout=60))

    def ends(self, code: int, name: str, *arguments: object) -> Finished:
        """Calls a program and requires this exit code; who fails says so on standard error."""
        done = self.call(name, *arguments)
        self.assertEqual(done.code, code, f"hvdump-{name} {' '.join(map(str, arguments))}\n{done.out}{done.err}")
        if code not in (DONE, DAMAGED):  # damage may be in what was asked for
            self.assertNotEqual(done.err, "", f"hvdump-{name} {arguments} ends with {code} and says nothing")
        return done

    def files(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir())

    def keygen(self, name: str) -> str:
        """Makes a key file and returns its recipient."""
        return self.ends(DONE, "decrypt", "keygen", "-o", name).out.strip()

    def guest(self, dump: str = "guest.hvd", key: str = "guest.key") -> bytes:
        """Imports four pages of raw memory as partition `guest`, sealed to a new key; returns the memory."""
        memory = b"".join(bytes([i]) * PAGE for i in (1, 2, 1, 0))
        (self.folder / "memory.raw").write_bytes(memory)
        self.ends(DONE, "capture", "import", "memory.raw", "--name", "guest",
                  "--recipient", f"guest={self.keygen(key)}", "-o", dump)
        return memory


class Help(Case):
    def shows(self, *words: str) -> None:
        name, *subcommand = words
        done = self.ends(DONE, name, *subcommand, "--help")
        self.assertEqual(done.err, "")
        too_wide = [line for line in done.out.splitlines() if len(line) > 80]
        self.assertEqual(too_wide, [], f"hvdump-{' '.join(words)} --help is wider than 80 columns")
        self.assertIn("Usage: hvdump-" + " ".join(words), done.out)

    def test_every_program_and_subcommand(self) -> None:
        for name, subcommands in COMMANDS.items():
            self.shows(name)
            for subcommand in subcommands:
                with self.subTest(program=name, subcommand=subcommand):
                    self.shows(name, subcommand)

    def test_program_lists_every_subcommand(self) -> None:
        for name, subcommands in COMMANDS.items():
            listed = self.ends(DONE, name, "-h").out.partition("Subcommands:")[2].splitlines()
            self.assertEqual(sorted(line.split()[0] for line in listed if line[:3].strip()), sorted(subcommands))

    def test_version(self) -> None:
        versions = {self.ends(DONE, name, "--version").out for name in COMMANDS}
        self.assertEqual(len(versions), 1, versions)
        self.assertRegex(versions.pop(), r"^\d+\.\d+\.\d+\n$")


class Usage(Case):
    def test_no_subcommand(self) -> None:
        for name in COMMANDS:
            self.assertEqual(self.ends(USAGE, name).out, "")

    def test_unknown_subcommand(self) -> None:
        for name in COMMANDS:
            self.ends(USAGE, name, "no-such-subcommand")

    def test_unknown_option(self) -> None:
        for name, subcommands in COMMANDS.items():
            self.ends(USAGE, name, "--no-such-option")
            for subcommand in subcommands:
                with self.subTest(program=name, subcommand=subcommand):
                    self.ends(USAGE, name, subcommand, "--no-such-option")

    def test_required_argument(self) -> None:
        for name, subcommands in COMMANDS.items():
            for subcommand in subcommands:
                with self.subTest(program=name, subcommand=subcommand):
                    self.ends(USAGE, name, subcommand)

    def test_format_that_does_not_exist(self) -> None:
        self.ends(USAGE, "extract", "partition", SAMPLE, "example", "--format", "tiff", "-o", "out")
        self.ends(USAGE, "analyze", "triage", SAMPLE, "--format", "tiff")

    def test_several_guests(self) -> None:
        self.assertIn("example web-1", self.ends(USAGE, "analyze", "log", SAMPLE).err)


class Inputs(Case):
    """Files that are not there, or are not what they should be: named, and no output is left."""

    CALLS = [
        ("extract", "list", "IN"), ("extract", "verify", "IN"), ("extract", "ledger", "IN"),
        ("extract", "hypervisor", "IN", "-o", "out"), ("extract", "partition", "IN", "example", "-o", "out"),
        ("decrypt", "list", "IN"), ("decrypt", "slot", "IN", "--partition", "example", "-o", "out"),
        ("decrypt", "recover", "IN", "--partition", "example", "--identity", SAMPLE_KEY, "-o", "out"),
        ("decrypt", "grant", "IN", "--partition", "example", "--identity", SAMPLE_KEY, "-o", "out",
         "--to", "age1x4zgvk0lrnjspu8vwaxs4308qx9vveusrcy38zn9zftjt5gc6ppsfyv23h"),
        ("analyze", "triage", "IN"), ("analyze", "log", "IN"), ("analyze", "bt", "IN"), ("analyze", "ps", "IN"),
        ("analyze", "modules", "IN"), ("analyze", "read", "IN", "0x1000"),
        ("capture", "machine", "IN", "-o", "out"),
    ]

    def each_fails_naming(self, path: str, code: int = FAILED) -> None:
        before = self.files()
        for call in self.CALLS:
            with self.subTest(call=call):
                done = self.ends(code, *(path if word == "IN" else word for word in call))
                self.assertIn(path, done.err)
                self.assertEqual(self.files(), before)

    def test_missing(self) -> None:
        self.each_fails_naming("no-such-file")
        self.assertIn("no-such-file", self.ends(FAILED, "capture", "import", "no-such-file", "--name", "a",
                                                "-o", "out").err)
        self.assertEqual(self.files(), [])

    def test_no_dump(self) -> None:
        (self.folder / "text").write_text("This is no dump.\n" * 100)
        self.each_fails_naming("text")

    def test_empty(self) -> None:
        (self.folder / "empty").touch()
        self.each_fails_naming("empty")

    def test_missing_key_file(self) -> None:
        done = self.ends(FAILED, "extract", "partition", SAMPLE, "example", "-o", "out", "--identity", "no-such.key")
        self.assertIn("no-such.key", done.err)
        self.assertEqual(self.files(), [])

    def test_unknown_partition(self) -> None:
        done = self.ends(FAILED, "extract", "partition", SAMPLE, "nobody", "-o", "out")
        self.assertIn("nobody", done.err)
        self.assertIn("example", done.err)
        self.assertEqual(self.files(), [])

    def test_missing_folder_for_output(self) -> None:
        done = self.ends(FAILED, "extract", "partition", SAMPLE, "example", "--identity", SAMPLE_KEY, "--format", "raw",
                         "-o", "no-such-folder/out")
        self.assertIn("no-such-folder", done.err)


class Sample(Case):
    """samples/sample.hvd, which has one sealed guest and one that is stateless."""

    def json_of(self, name: str, *arguments: object, code: int = DONE) -> dict:
        return json.loads(self.ends(code, name, *arguments).out)

    def test_list(self) -> None:
        lines = self.ends(DONE, "extract", "list", SAMPLE).out.splitlines()
        self.assertRegex(lines[1], r"^example +guest +captured +yes +64 KiB +12 KiB +[1-9][0-9.]* KiB$")
        self.assertRegex(lines[2], r"^web-1 +guest +stateless +no +64 KiB ")
        listed = self.json_of("extract", "list", SAMPLE, "--json")
        self.assertTrue(listed["complete"])
        self.assertEqual([(p["name"], p["state"]) for p in listed["partitions"]],
                         [("example", "captured"), ("web-1", "stateless")])

    def test_verify(self) -> None:
        self.assertIn("good", self.ends(DONE, "extract", "verify", SAMPLE).out)
        verified = self.json_of("extract", "verify", SAMPLE, "--json")
        self.assertTrue(verified["good"])
        self.ends(DONE, "extract", "verify", SAMPLE, "--signer", verified["signer"])
        self.assertNotEqual(self.call("extract", "verify", SAMPLE, "--signer", "00" * 32).code, DONE)

    def test_verify_finds_a_changed_byte(self) -> None:
        data = bytearray(SAMPLE.read_bytes())
        data[len(data) // 2] ^= 1
        (self.folder / "changed.hvd").write_bytes(data)
        self.assertIn("BAD", self.ends(DAMAGED, "extract", "verify", "changed.hvd").out)

    def test_no_hypervisor(self) -> None:
        self.assertIn("hypervisor", self.ends(FAILED, "extract", "ledger", SAMPLE, "--json").err)
        self.assertIn("hypervisor", self.ends(FAILED, "extract", "hypervisor", SAMPLE, "-o", "out").err)
        self.assertEqual(self.files(), [])

    def test_raw_partition(self) -> None:
        self.ends(DAMAGED, "extract", "partition", SAMPLE, "example", "--identity", SAMPLE_KEY, "--format", "raw",
                  "-o", "raw")  # one page could not be read
        memory = (self.folder / "raw").read_bytes()
        self.assertEqual(len(memory), 16 * PAGE)
        self.assertTrue(memory[PAGE:].startswith(KERNEL_TEXT))
        self.assertTrue(memory[3 * PAGE:].startswith(SECRET))
        self.assertNotIn(SECRET, SAMPLE.read_bytes())

    def test_elf_partition(self) -> None:
        self.ends(DAMAGED, "extract", "partition", SAMPLE, "example", "--identity", SAMPLE_KEY, "-o", "elf")
        self.assertEqual((self.folder / "elf").read_bytes()[:4], b"\x7fELF")

    def test_one_class_of_pages(self) -> None:
        self.ends(DAMAGED, "extract", "partition", SAMPLE, "example", "--identity", SAMPLE_KEY, "--format", "raw",
                  "--class", "kernel", "-o", "raw")
        memory = (self.folder / "raw").read_bytes()
        self.assertIn(KERNEL_TEXT, memory)
        self.assertNotIn(SECRET, memory)

    def test_stateless_partition(self) -> None:
        self.assertIn("stateless", self.ends(FAILED, "extract", "partition", SAMPLE, "web-1", "-o", "out").err)
        self.assertEqual(self.files(), [])

    def test_slots(self) -> None:
        self.assertIn("example", self.ends(DONE, "decrypt", "list", SAMPLE).out)
        self.json_of("decrypt", "list", SAMPLE, "--json", "--identity", SAMPLE_KEY)
        self.ends(DONE, "decrypt", "slot", SAMPLE, "--partition", "example", "-o", "slot")
        self.assertTrue((self.folder / "slot").read_bytes().startswith(b"age-encryption.org/v1\n"))

    def test_triage(self) -> None:
        report = self.json_of("analyze", "triage", SAMPLE, "--identity", SAMPLE_KEY)
        self.assertEqual(report["schema"], "hvdump-triage/1")
        self.assertEqual([p["name"] for p in report["partitions"]], ["example", "web-1"])
        text = self.ends(DONE, "analyze", "triage", SAMPLE, "--identity", SAMPLE_KEY, "--format", "text").out
        self.assertIn("Partition example", text)
        self.ends(DONE, "analyze", "triage", SAMPLE, "--identity", SAMPLE_KEY, "--format", "html", "-o", "report.html")
        self.assertIn("example", (self.folder / "report.html").read_text())

    def test_what_needs_a_kernel(self) -> None:
        """The sample's guest has none."""
        key = ("--partition", "example", "--identity", SAMPLE_KEY)
        for call in (("log", SAMPLE), ("bt", SAMPLE), ("ps", SAMPLE), ("modules", SAMPLE),
                     ("read", SAMPLE, "linux_banner")):
            with self.subTest(call=call):
                for options in ((), ("--json",)):
                    done = self.ends(FAILED, "analyze", *call, *key, *options)
                    self.assertIn("VMCOREINFO", done.err)
                    self.assertEqual(done.out, "")


class Keys(Case):
    LOCKED = [
        ("extract", "partition", SAMPLE, "example", "--format", "raw", "-o", "out"),
        ("extract", "partition", SAMPLE, "example", "-o", "out"),
        ("decrypt", "recover", SAMPLE, "--partition", "example", "-o", "out"),
        ("analyze", "log", SAMPLE, "--partition", "example"),
        ("analyze", "read", SAMPLE, "0x1000", "--physical", "--partition", "example"),
    ]

    def test_no_key(self) -> None:
        for call in self.LOCKED:
            with self.subTest(call=call):
                self.assertIn("example", self.ends(NOT_AUTHORISED, *call).err)
                self.assertEqual(self.files(), [])

    def test_wrong_key(self) -> None:
        self.keygen("other.key")
        for call in self.LOCKED:
            with self.subTest(call=call):
                self.assertIn("example", self.ends(NOT_AUTHORISED, *call, "--identity", "other.key").err)
                self.assertEqual(self.files(), ["other.key"])

    def test_keygen(self) -> None:
        self.assertRegex(self.keygen("new.key"), r"^age1[a-z0-9]{58}$")
        key = self.folder / "new.key"
        self.assertEqual(key.stat().st_mode & 0o777, 0o600)
        before = key.read_bytes()
        self.assertIn("AGE-SECRET-KEY-1", before.decode())
        self.assertIn("new.key", self.ends(USAGE, "decrypt", "keygen", "-o", "new.key").err)
        self.assertEqual(key.read_bytes(), before)

    def test_recover(self) -> None:
        memory = self.guest()
        self.ends(DONE, "decrypt", "recover", "guest.hvd", "--partition", "guest", "--identity", "guest.key",
                  "-o", "open.hvd")
        self.ends(DONE, "extract", "partition", "open.hvd", "guest", "--format", "raw", "-o", "raw")
        self.assertEqual((self.folder / "raw").read_bytes(), memory)

    def test_grant(self) -> None:
        memory = self.guest()
        other = self.keygen("other.key")
        self.ends(DONE, "decrypt", "grant", "guest.hvd", "--partition", "guest", "--identity", "guest.key",
                  "--to", other, "-o", "other.hvgrant")
        opened = ("extract", "partition", "guest.hvd", "guest", "--format", "raw", "-o", "raw")
        self.ends(NOT_AUTHORISED, *opened, "--identity", "other.key")
        self.ends(DONE, *opened, "--identity", "other.key", "--identity", "other.hvgrant")
        self.assertEqual((self.folder / "raw").read_bytes(), memory)
        self.ends(NOT_AUTHORISED, "decrypt", "grant", "guest.hvd", "--partition", "guest", "--identity", "other.key",
                  "--to", other, "-o", "mine.hvgrant")
        self.ends(USAGE, "decrypt", "grant", "guest.hvd", "--partition", "guest", "--identity", "guest.key",
                  "--to", "age1nobody", "-o", "mine.hvgrant")
        self.assertNotIn("mine.hvgrant", self.files())

    def test_passphrase(self) -> None:
        (self.folder / "memory.raw").write_bytes(bytes(PAGE))
        (self.folder / "phrase").write_text("correct horse battery staple\n")
        (self.folder / "wrong").write_text("something else\n")
        self.ends(DONE, "capture", "import", "memory.raw", "--name", "guest", "--passphrase", "guest=phrase",
                  "-o", "guest.hvd")
        opened = ("extract", "partition", "guest.hvd", "guest", "--format", "raw", "-o", "raw")
        self.ends(NOT_AUTHORISED, *opened, "--passphrase-file", "wrong")
        self.ends(DONE, *opened, "--passphrase-file", "phrase")


class Import(Case):
    def test_raw_memory(self) -> None:
        memory = self.guest()
        self.assertIn("good", self.ends(DONE, "extract", "verify", "guest.hvd").out)
        self.ends(DONE, "extract", "partition", "guest.hvd", "guest", "--format", "raw", "--identity", "guest.key",
                  "-o", "raw")
        self.assertEqual((self.folder / "raw").read_bytes(), memory)

    def test_elf_core(self) -> None:
        memory = self.guest()
        self.ends(DAMAGED, "extract", "partition", "guest.hvd", "guest", "--identity", "guest.key", "-o", "core")
        recipient = self.keygen("again.key")
        self.ends(DONE, "capture", "import", "core", "--name", "again", "--recipient", f"again={recipient}",
                  "-o", "again.hvd")
        self.ends(DONE, "extract", "partition", "again.hvd", "again", "--format", "raw", "--identity", "again.key",
                  "-o", "raw")
        self.assertEqual((self.folder / "raw").read_bytes(), memory)

    def test_without_recipient(self) -> None:
        """It fails closed: the guest is listed, and its memory is not in the dump."""
        memory = b"not to be seen! " * (PAGE // 16)
        (self.folder / "memory.raw").write_bytes(memory)
        self.assertIn("recipient", self.ends(DAMAGED, "capture", "import", "memory.raw", "--name", "guest",
                                             "-o", "guest.hvd").err)
        listed = json.loads(self.ends(DONE, "extract", "list", "guest.hvd", "--json").out)
        self.assertEqual(listed["partitions"][0]["state"], "failed")
        self.assertNotIn(memory[:32], (self.folder / "guest.hvd").read_bytes())

    def test_bad_recipient(self) -> None:
        (self.folder / "memory.raw").write_bytes(bytes(PAGE))
        self.assertIn("age1nobody", self.ends(USAGE, "capture", "import", "memory.raw", "--name", "guest",
                                              "--recipient", "guest=age1nobody", "-o", "guest.hvd").err)
        self.assertEqual(self.files(), ["memory.raw"])

    def test_dump(self) -> None:
        self.ends(USAGE, "capture", "import", SAMPLE, "--name", "guest", "-o", "guest.hvd")
        self.assertEqual(self.files(), [])

    def test_to_standard_output(self) -> None:
        (self.folder / "memory.raw").write_bytes(bytes(PAGE))
        dump = self.ends(DONE, "capture", "import", "memory.raw", "--name", "guest",
                         "--recipient", f"guest={self.keygen('guest.key')}", "-o", "-").bytes
        (self.folder / "guest.hvd").write_bytes(dump)
        self.assertIn("good", self.ends(DONE, "extract", "verify", "guest.hvd").out)


class Torn(Case):
    """A dump that was cut off: exit code 3, and what is left can be had."""

    TORN = SAMPLE.read_bytes().index(b'"web-1"') + 200  # within the second partition, behind its name

    def cut(self, size: int) -> str:
        (self.folder / "torn.hvd").write_bytes(SAMPLE.read_bytes()[:size])
        return "torn.hvd"

    def test_every_length(self) -> None:
        """Nothing crashes, and nothing takes a part for the whole."""
        for size in range(1, SAMPLE.stat().st_size, 97):
            dump = self.cut(size)
            with self.subTest(size=size):
                self.assertIn(self.call("extract", "list", dump).code, (FAILED, DAMAGED))
                self.assertIn(self.call("extract", "verify", dump).code, (FAILED, DAMAGED))

    def test_list(self) -> None:
        dump = self.cut(self.TORN)
        done = self.ends(DAMAGED, "extract", "list", dump)
        self.assertIn("incomplete", done.err)
        self.assertRegex(done.out, r"\nexample +guest +captured ")
        self.assertRegex(done.out, r"\nweb-1 +guest +incomplete ")
        self.assertFalse(json.loads(self.ends(DAMAGED, "extract", "list", dump, "--json").out)["complete"])

    def test_partition(self) -> None:
        self.ends(DAMAGED, "extract", "partition", self.cut(self.TORN), "example", "--identity", SAMPLE_KEY,
                  "--format", "raw", "-o", "raw")
        self.assertIn(SECRET, (self.folder / "raw").read_bytes())

    def test_verify(self) -> None:
        self.assertIn("cut off", self.ends(DAMAGED, "extract", "verify", self.cut(self.TORN)).out)
        self.assertFalse(json.loads(self.ends(DAMAGED, "extract", "verify", self.cut(self.TORN), "--json").out)["good"])

    def test_triage(self) -> None:
        report = json.loads(self.ends(DAMAGED, "analyze", "triage", self.cut(self.TORN), "--identity", SAMPLE_KEY).out)
        self.assertFalse(report["dump"]["complete"])


class Output(Case):
    def refused(self, path: str, *call: object) -> None:
        """The call would overwrite this file, under whatever name."""
        before = (self.folder / path).read_bytes()
        with self.subTest(call=call):
            self.ends(USAGE, *call)
            self.assertEqual((self.folder / path).read_bytes(), before)

    def test_that_is_the_input(self) -> None:
        self.guest()
        (self.folder / "link.hvd").symlink_to("guest.hvd")
        (self.folder / "hard.hvd").hardlink_to(self.folder / "guest.hvd")
        recipient = self.keygen("other.key")
        key = ("--identity", "guest.key")
        for output in ("guest.hvd", "./guest.hvd", "link.hvd", "hard.hvd"):
            self.refused("guest.hvd", "extract", "partition", "guest.hvd", "guest", *key, "--format", "raw", "-o", output)
            self.refused("guest.hvd", "extract", "partition", "guest.hvd", "guest", *key, "-o", output)
            self.refused("guest.hvd", "decrypt", "recover", "guest.hvd", "--partition", "guest", *key, "-o", output)
            self.refused("guest.hvd", "decrypt", "slot", "guest.hvd", "--partition", "guest", "-o", output)
            self.refused("guest.hvd", "decrypt", "grant", "guest.hvd", "--partition", "guest", *key, "--to", recipient,
                         "-o", output)
            self.refused("guest.hvd", "analyze", "triage", "guest.hvd", *key, "-o", output)
            self.refused("guest.hvd", "capture", "machine", "guest.hvd", *key, "--partition", "guest", "-o", output)
        self.refused("memory.raw", "capture", "import", "memory.raw", "--name", "guest",
                     "--recipient", f"guest={recipient}", "-o", "./memory.raw")

    def test_that_is_the_key(self) -> None:
        self.guest()
        key = ("--identity", "guest.key", "-o", "guest.key")
        self.refused("guest.key", "extract", "partition", "guest.hvd", "guest", "--format", "raw", *key)
        self.refused("guest.key", "decrypt", "recover", "guest.hvd", "--partition", "guest", *key)
        self.refused("guest.key", "decrypt", "grant", "guest.hvd", "--partition", "guest", "--to", self.keygen("o.key"),
                     *key)
        self.refused("guest.key", "analyze", "triage", "guest.hvd", *key)

    def test_that_is_another_file_it_reads(self) -> None:
        """Passphrases, the policy and the signing key would be lost as a private key would."""
        self.guest()
        (self.folder / "words").write_text("words\n")
        (self.folder / "policy.json").write_text('{"vms":[{"match":"guest","plaintext":true}]}')
        (self.folder / "signing.key").write_text("hvdump-signing-key " + "07" * 32 + "\n")
        for call in (("extract", "partition", "guest.hvd", "guest"), ("extract", "hypervisor", "guest.hvd"),
                     ("decrypt", "recover", "guest.hvd", "--partition", "guest"),
                     ("decrypt", "grant", "guest.hvd", "--partition", "guest", "--to", self.keygen("o.key")),
                     ("analyze", "triage", "guest.hvd")):
            self.refused("words", *call, "--passphrase-file", "words", "-o", "words")
        for command in (("import", "memory.raw", "--name", "guest"), ("machine", "memory.raw"),
                        ("qemu", "--vm", "guest=absent.qmp")):
            self.refused("policy.json", "capture", *command, "--policy", "policy.json", "-o", "policy.json")
            self.refused("signing.key", "capture", *command, "--signing-key", "signing.key", "-o", "signing.key")
            self.refused("words", "capture", *command, "--passphrase", "guest=words", "-o", "./words")

    def closed_pipe(self, name: str, *arguments: object) -> None:
        """The reader is gone before the first byte: failed, and said so; not killed by a signal."""
        reader, writer = os.pipe()
        os.close(reader)
        with os.fdopen(writer, "wb") as pipe:
            done = subprocess.run([self.program(name), *map(str, arguments)], cwd=self.folder, stdout=pipe,
                                  stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=60)
        self.assertEqual(done.returncode, FAILED, (name, arguments, done.stderr))
        self.assertNotEqual(done.stderr, b"")

    def test_closed_pipe(self) -> None:
        self.guest()
        recipient = self.keygen("other.key")
        self.closed_pipe("extract", "list", SAMPLE)
        self.closed_pipe("extract", "verify", SAMPLE, "--json")
        self.closed_pipe("decrypt", "list", SAMPLE)
        self.closed_pipe("analyze", "triage", SAMPLE, "--identity", SAMPLE_KEY, "--format", "html")
        self.closed_pipe("decrypt", "slot", SAMPLE, "--partition", "example", "-o", "-")
        self.closed_pipe("capture", "import", "memory.raw", "--name", "guest", "--recipient", f"guest={recipient}",
                         "-o", "-")

    def test_full_disk(self) -> None:
        with open("/dev/full", "wb") as full:
            done = subprocess.run([self.program("extract"), "list", SAMPLE], stdout=full, stderr=subprocess.PIPE)
        self.assertEqual(done.returncode, FAILED)


class Install(Case):
    """What `cmake --install` puts where, and that a program runs from there."""

    def test_install(self) -> None:
        prefix = self.folder / "usr"
        done = subprocess.run(["cmake", "--install", build, "--prefix", prefix], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        installed = {str(path.relative_to(prefix)) for path in prefix.rglob("*") if path.is_file()}
        data, doc = "share/hvdump", "share/doc/hvdump"
        expected = {f"bin/hvdump-{name}" for name in COMMANDS} | {
            f"{doc}/README.md", f"{doc}/ARCHITECTURE.md", f"{doc}/docs/policy.md", f"{doc}/docs/sealing.md", f"{doc}/formats/hvd/SPEC.md", f"{doc}/envelope/SPEC.md",
            f"{data}/schema/hvdump-triage-1.json", f"{data}/schema/policy.schema.json",
            f"{data}/samples/README.md", f"{data}/samples/policy.json", f"{data}/samples/policy.schema.json",
            f"{data}/samples/sample.hvd", f"{data}/samples/sample.key",
            f"{data}/samples/kdump/README.md", f"{data}/samples/kdump/hvdump-kdump",
            f"{data}/samples/kdump/dracut/98hvdump/module-setup.sh", f"{data}/samples/kdump/kdump-tools/hvdump.conf",
            f"{data}/samples/kdump/kdump-tools/no-clear-dump.conf"}
        self.assertEqual(expected - installed, set())
        stray = {path for path in installed - expected if not path.startswith(data)}
        self.assertEqual(stray, set())
        self.assertTrue(os.access(prefix / data / "samples/kdump/hvdump-kdump", os.X_OK))
        schema = json.loads((prefix / data / "schema/hvdump-triage-1.json").read_text())
        self.assertIn("$schema", schema)
        listed = subprocess.run([prefix / "bin/hvdump-extract", "list", prefix / data / "samples/sample.hvd"],
                                capture_output=True, text=True)
        self.assertEqual(listed.returncode, DONE, listed.stderr)
        self.assertIn("example", listed.stdout)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    build = Path(sys.argv.pop(1)).resolve()
    unittest.main()
