"""Fuzzing: what nobody would write, for all that reads keys, frames, bundles and what people type.

Guided by what each input reaches, by atheris (`pip install atheris`, which needs Python 3.13 or older):

    python tests/fuzz.py keys --seconds 300 --seed 1

or, without it, so many random mixtures of good inputs:

    python tests/fuzz.py keys --tries 1000 --seed 1

The first input that does what it must not ends the program with a traceback, after its bytes were shown.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import logging
import os
import random
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

TARGETS = ("keys", "frames", "bundles", "typed")
#: An input that takes longer is a finding, and so is one with which the process grows above that.
LONGEST_S, MOST_MB = 10, 1024
_LONGEST_INPUT = 4096


def mixture(corpus: list[bytes], dice: random.Random) -> bytes:
    """Return a good input that was changed in a few places, or was joined with a part of another one."""
    made = bytearray(dice.choice(corpus))
    for _ in range(dice.choice([1, 1, 2, 5])):
        at = dice.randrange(len(made) + 1)
        other = dice.choice(corpus)
        start = dice.randrange(len(other) + 1)
        piece = other[start : start + dice.choice([1, 2, 8, len(other)])]
        match dice.randrange(4):
            case 0:
                made[at:at] = piece
            case 1:
                made[at : at + len(piece)] = piece
            case 2:
                del made[at : at + dice.choice([1, 2, 8, 64])]
            case _ if at < len(made):
                made[at] ^= 1 << dice.randrange(8)
    return bytes(made[:_LONGEST_INPUT])


class Tally:
    """Counts what a target made of its inputs, and ends the program when its time is over."""

    def __init__(self, check: Callable[[bytes], str], seconds: float) -> None:
        self._check = check
        self._deadline = time.monotonic() + seconds
        self._began = time.monotonic()
        self.outcomes: Counter[str] = Counter()

    def take(self, data: bytes) -> None:
        try:
            self.outcomes[self._check(data)] += 1
        except BaseException:
            print(f"after {self.outcomes.total():,} inputs: {data!r}", file=sys.__stdout__, flush=True)
            raise

    def take_until_the_end(self, data: bytes) -> None:
        self.take(data)
        if time.monotonic() > self._deadline:
            self.tell()
            os._exit(0)  # libFuzzer ends its processes likewise, and would tell nothing

    def tell(self) -> None:
        told = ", ".join(f"{count:,} {outcome}" for outcome, count in self.outcomes.most_common())
        seconds = time.monotonic() - self._began
        print(f"{self.outcomes.total():,} inputs in {seconds:.0f} s: {told}", file=sys.__stdout__, flush=True)


def fuzz(target: str, seconds: float, seed: int, folder: Path) -> NoReturn:
    """Try inputs that reach more and more of the code, until the time is over."""
    atheris: Any = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["checkpoint"], enable_loader_override=False):
        targets = importlib.import_module("fuzz_targets")
    check, corpus = targets.prepared(target, folder)
    (folder / "corpus").mkdir()
    for number, data in enumerate(corpus):
        (folder / "corpus" / str(number)).write_bytes(data)
    tally = Tally(check, seconds)
    options = {"seed": seed, "timeout": LONGEST_S, "rss_limit_mb": MOST_MB, "max_len": _LONGEST_INPUT, "verbosity": 0}
    options["artifact_prefix"] = f"{folder}/"
    # libFuzzer's own seconds are a second net, should no input ever end
    options["max_total_time"] = int(seconds) + 60
    arguments = [f"-{name}={value}" for name, value in options.items()]
    atheris.Setup([sys.argv[0], *arguments, str(folder / "corpus")], tally.take_until_the_end)
    atheris.Fuzz()
    raise AssertionError("the fuzzer returned")


def main() -> None:
    """Fuzz one target."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--tries", type=int, help="mix so many inputs, without atheris")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.getLogger("checkpoint").setLevel(logging.CRITICAL)
    print(f"{given.target}, seed {given.seed}", flush=True)
    with tempfile.TemporaryDirectory() as name, contextlib.chdir(name):
        folder = Path(name)
        os.environ |= {"CP_CACHE_DIR": str(folder / "work" / "cache"), "CP_LOCAL_DIR": str(folder / "work" / "local")}
        os.environ["HOME"] = str(folder / "work")
        (folder / "work").mkdir()
        os.chdir(folder / "work")
        if given.tries is None:
            fuzz(given.target, given.seconds, given.seed, folder)
        check, corpus = importlib.import_module("fuzz_targets").prepared(given.target, folder)
        dice = random.Random(given.seed)
        tally = Tally(check, 0)
        for data in corpus:
            tally.take(data)
        for _ in range(given.tries):
            tally.take(mixture(corpus, dice))
        tally.tell()


if __name__ == "__main__":
    main()
