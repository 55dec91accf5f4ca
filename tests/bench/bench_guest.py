"""The guest that the benchmarks measure with: 2 GiB, about a sixth of its pages not zero, crashed."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))

from images import Kernel  # noqa: E402
from lab import Guest  # noqa: E402
from produce import age_key  # noqa: E402
from product import run  # noqa: E402

NAME = "tenant"


@contextmanager
def crashed_guest(kernel: str = "6.12", mem: str = "2G", fill: int = 130) -> Iterator[Guest]:
    with tempfile.TemporaryDirectory(prefix="hvd-") as scratch, \
            Guest(Path(scratch), NAME, Kernel.find(kernel), "null", mem=mem, append=f"hvd.fill={fill}") as guest:
        yield guest.wait_crashed(timeout=600)


def capture(guest: Guest, folder: Path, compression: str = "zstd") -> tuple[Path, Path]:
    """A sealed dump and its key."""
    key, dump = folder / "bench.key", folder / "bench.hvd"
    if not key.exists():
        age_key(key)
    recipient = subprocess.run(["age-keygen", "-y", key], check=True, capture_output=True, text=True).stdout.strip()
    policy = folder / "policy.json"
    policy.write_text(json.dumps({"vms": [{"match": NAME, "recipients": [recipient], "compression": compression}]}))
    dump.unlink(missing_ok=True)
    run("hvdump-capture", "qemu", "--vm", f"{NAME}={guest.qmp_path}", "--policy", policy, "-o", dump)
    return dump, key


def seconds(work: Callable[[], object]) -> float:
    started = time.monotonic()
    work()
    return time.monotonic() - started


def show(what: str, times: list[float], extra: str = "") -> float:
    """Prints the median and the spread; returns the median."""
    middle = statistics.median(times)
    print(f"{what:<44} median {middle:7.3f} s   ({min(times):.3f} to {max(times):.3f} in {len(times)} runs) {extra}",
          flush=True)
    return middle
