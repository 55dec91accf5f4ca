#!/usr/bin/python3
"""What scripts/with-skipped makes of ctest's output: reasons before the summary, the summary last."""

from __future__ import annotations

import subprocess
import tempfile
import unittest
from pathlib import Path

PROGRAM = Path(__file__).resolve().parents[2] / "scripts" / "with-skipped"
TESTS = """
add_test(passes /bin/sh -c "exit 0")
add_test(skipped /bin/sh -c "seq 3000; echo 'SKIPPED: drgn is not installed'; exit 77")
add_test(skipped_too /bin/sh -c "echo 'SKIPPED: drgn is not installed'; exit 77")
set_tests_properties(skipped skipped_too PROPERTIES SKIP_RETURN_CODE 77)
add_test(googletest /bin/sh -c "echo '/a/b.cc:3: Skipped'; echo 'age is not installed'; echo '[  SKIPPED ] B.C'")
set_tests_properties(googletest PROPERTIES SKIP_REGULAR_EXPRESSION "\\\\[  SKIPPED \\\\]")
"""
FAILING = """
add_test(fails /bin/sh -c "exit 1")
set_tests_properties(fails PROPERTIES FIXTURES_SETUP it)
add_test(has_no_fixture /bin/sh -c "exit 0")
set_tests_properties(has_no_fixture PROPERTIES FIXTURES_REQUIRED it)
"""
SKIPPED = "\nSkipped: 3\n  age is not installed\n    googletest\n  drgn is not installed\n    skipped skipped_too\n\n"


def run(tests: str, *options: str) -> subprocess.CompletedProcess[str]:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "CTestTestfile.cmake").write_text(tests)
        return subprocess.run([PROGRAM, "ctest", "--test-dir", folder, *options], capture_output=True, text=True)


class WithSkipped(unittest.TestCase):
    def test_lists_reasons_before_the_summary(self) -> None:
        done = run(TESTS)
        self.assertEqual(done.returncode, 0)
        self.assertIn(SKIPPED + "100% tests passed, 0 tests failed out of 4\n", done.stdout)

    def test_takes_a_test_that_could_not_run_for_no_skipped_one(self) -> None:
        done = run(TESTS + FAILING)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn(SKIPPED + "67% tests passed, 2 tests failed out of 6\n", done.stdout)

    def test_ends_as_ctest_does_without_a_test(self) -> None:
        self.assertNotEqual(run("", "--no-tests=error").returncode, 0)


if __name__ == "__main__":
    unittest.main()
