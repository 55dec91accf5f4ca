#!/usr/bin/python3
"""When run_machine gives a machine up, with programs in a machine's place."""

from __future__ import annotations

import tempfile
import time
import unittest
from pathlib import Path

from emulation import run_machine
from images import LabError


class RunMachine(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.console, self.disk = Path(folder.name) / "console", Path(folder.name) / "disk"

    def run_script(self, script: str, seconds: float, **options: object) -> str:
        return run_machine(["sh", "-c", script, str(self.console), str(self.disk)], self.console,
                           seconds=seconds, **options)  # type: ignore[arg-type]

    def assert_given_up(self, script: str, seconds: float, why: str, **options: object) -> None:
        with self.assertRaises(LabError) as raised:
            self.run_script(script, seconds, **options)
        self.assertIn(why, str(raised.exception))

    def test_returns_what_a_machine_said_that_ended(self) -> None:
        self.assertEqual(self.run_script('echo up > "$0"', 1), "up\n")

    def test_gives_up_one_that_spins_in_silence(self) -> None:
        self.assert_given_up('echo up > "$0"; while :; do :; done', 0.5, "no progress any more; the machine's console "
                             "ends with:\nup")

    def test_gives_up_one_that_sleeps_in_silence(self) -> None:
        self.assert_given_up("exec sleep 1000", 0.5, "no progress any more; the machine's console is empty")

    def test_waits_for_one_that_goes_on_talking(self) -> None:
        said = self.run_script('for n in 1 2 3 4 5 6; do echo $n >> "$0"; sleep 1; done', 1)
        self.assertEqual(said, "1\n2\n3\n4\n5\n6\n")

    def test_waits_for_one_that_goes_on_writing(self) -> None:
        begun = time.monotonic()
        self.run_script('for n in 1 2 3 4 5 6; do head -c 65536 /dev/urandom >> "$1"; sync "$1"; sleep 1; done', 1,
                        grows=(self.disk,))
        self.assertGreater(time.monotonic() - begun, 5)

    def test_gives_up_a_hopeless_one_at_once(self) -> None:
        self.assert_given_up('echo FAILED > "$0"; exec sleep 1000', 1000, "no hope; the machine's console ends with:",
                             hopeless=lambda said: "no hope" if "FAILED" in said else "")

    def test_fails_with_the_emulator(self) -> None:
        self.assert_given_up("exit 3", 1, "the emulator ended with 3")


if __name__ == "__main__":
    unittest.main()
