"""What the loops of NEON softmax cost on cores that are not here, by static analysis.

    python bench/neon_cycles.py

Cross-compiles the kernels' own loops (quotients without the vectors that overlap at a row's ends)
and hands each one's body to llvm-mca, which reckons with data in L1 and branches foreseen. It needs
aarch64-linux-gnu-g++ and LLVM 17 or later, which has models of these cores (LLVM 14 takes the
names, and reckons with another core's figures). On Debian 12:

    apt-get install -y g++-aarch64-linux-gnu llvm-19
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
COMPILER = "aarch64-linux-gnu-g++"
FLAGS = ("-std=c++17", "-O3", "-DNDEBUG", "-ffp-contract=off", "-fno-math-errno")  # CMakeLists.txt
LEAST_LLVM = 17
ITERATIONS = 200

SOURCE = """
#include "simd/simd.hpp"
#include "kernels/normalize.hpp"
#include "kernels/probes.hpp"

namespace softlane {
namespace neon {

// Whole quads alone: no code for what is left at the end.
#define SOFTLANE_WHOLE if (n <= 0 || n % quad_size != 0) __builtin_unreachable()

template <class T>
[[gnu::flatten]] void maximum(const T* x, int n, Vec<T>* halves) {
  SOFTLANE_WHOLE;
  lane_maxima(x, n, Direct<T>{}, halves[0], halves[1]);
}
template <class T>
[[gnu::flatten]] void exponential(const T* x, int n, T* e) {
  SOFTLANE_WHOLE;
  exp_probe<T>(x, n, e);
}
template <class T>
[[gnu::flatten]] void sums(const T* e, int n, LaneSums<T>* lanes) {
  SOFTLANE_WHOLE;
  LaneSums<T> sums;
  for (int k = 0; k < n; k += 16) {
    for (int j = 0; j < sums.registers; ++j) {
      sums.running[j].add(Vec<T>::load(e + k + j * sums.width));
    }
  }
  *lanes = sums;
}
template <class T>
[[gnu::flatten]] void quotients(T* e, int n, Factor<T> by) {
  SOFTLANE_WHOLE;
  each_vector<T>(n, [&](int k, auto part) __attribute__((always_inline)) {
    part.store(by(part.load(e + k)), e + k);
  });
}

#define SOFTLANE_LOOPS(T)                                                 \\
  template void maximum<T>(const T*, int, Vec<T>*);                       \\
  template void exponential<T>(const T*, int, T*);                        \\
  template void sums<T>(const T*, int, LaneSums<T>*);                     \\
  template void quotients<T>(T*, int, Factor<T>);
SOFTLANE_LOOPS(float)
SOFTLANE_LOOPS(double)

}  // namespace neon
}  // namespace softlane
"""

# An instruction that each vector of elements has once (`ldp` and `stp` are two).
ONE_A_VECTOR = {
    "maximum": r"\s(fcmgt)\s",
    "exponential": r"\s(tbl)\s",
    "sums": r"\s(ldr|ldp)\sq",
    "quotients": r"\s(str|stp)\sq",
}
MEANING = {
    "maximum": "lane by lane",
    "exponential": "alone",
    "sums": "running, with what they round away",
    "quotients": "by a quotient in two parts",
}
LANES = {"float": 4, "double": 2}


@dataclass(frozen=True)
class Loop:
    name: str
    dtype: str
    body: list[str]

    @property
    def vectors(self) -> int:
        found = [re.search(ONE_A_VECTOR[self.name], line) for line in self.body]
        return sum(2 if match[1] in ("ldp", "stp") else 1 for match in found if match)


def loops(assembly: str) -> Iterator[Loop]:
    """Yield each function's loop over the elements."""
    for name in ONE_A_VECTOR:
        for dtype in LANES:
            symbol = rf"_ZN8softlane4neon{len(name)}{name}I{dtype[0]}E\w*"
            function = re.search(rf"^{symbol}:\n(.*?)^\s*\.size\s+{symbol},", assembly, re.M | re.S)
            assert function, f"no {name} of {dtype}"
            yield Loop(name, dtype, _hottest(function[1].splitlines()))


def _hottest(lines: list[str]) -> list[str]:
    """Return the body of the loop that most other loops are around, the longest of those."""
    begins = {line[:-1]: i for i, line in enumerate(lines) if re.match(r"\.L\d+:$", line)}
    found = []
    for end, line in enumerate(lines):
        branch = re.match(r"\s+(?:b\.?\w+|cbn?z|tbn?z)\s.*?(\.L\d+)$", line)
        if branch and begins.get(branch[1], end) < end:
            found.append(range(begins[branch[1]], end + 1))
    # What is left at the end, lane by lane, is no part of it, nor are jumps around that.
    rest = re.compile(r"\s+(?:ret|ld1|st1)\b")
    found = [loop for loop in found if not any(rest.match(lines[i]) for i in loop)]
    depth = {loop: sum(loop[0] in around for around in found) for loop in found}
    hottest = max(found, key=lambda loop: (depth[loop], len(loop)))
    return [lines[i] for i in hottest if re.match(r"\s+[a-z]", lines[i])]


def cycles(mca: str, cpu: str, body: list[str]) -> float:
    """Return the cycles of one iteration."""
    # A core moves the pointer of a post-indexed access by an operation of its own; llvm-mca would
    # let the pointer wait for the data that is stored.
    post = re.compile(r"(\s+(?:ldr|ldp|str|stp)\s.*\[(\w+)\]), (-?\d+)$")
    code = "\n".join(post.sub(r"\1\n\tadd\t\2, \2, \3", line) for line in body)
    done = subprocess.run(
        [mca, "-mtriple=aarch64-linux-gnu", f"-mcpu={cpu}", f"-iterations={ITERATIONS}"],
        input=code + "\n",
        capture_output=True,
        text=True,
        check=False,
    )
    total = re.search(r"Total Cycles:\s+(\d+)", done.stdout)
    if total is None:
        sys.exit(f"{mca}: {done.stderr.strip()}")
    return int(total[1]) / ITERATIONS


def analyser() -> str:
    """Find the newest llvm-mca that knows the cores."""
    names = ["llvm-mca", *(f"llvm-mca-{n}" for n in range(LEAST_LLVM, 40))]
    versions: dict[str, int] = {}
    for name in filter(shutil.which, names):
        said = subprocess.run([name, "--version"], capture_output=True, text=True, check=True)
        version = re.search(r"LLVM version (\d+)", said.stdout)
        versions[name] = int(version[1]) if version else 0
    newest = max(versions, key=versions.__getitem__, default="")
    if versions.get(newest, 0) < LEAST_LLVM or not shutil.which(COMPILER):
        sys.exit(f"needs {COMPILER} and llvm-mca of LLVM {LEAST_LLVM} or later; found {versions}")
    return newest


def compiled() -> str:
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "loops.cpp"
        source.write_text(SOURCE, encoding="utf-8")
        command = [COMPILER, *FLAGS, "-DSOFTLANE_ISA=neon", f"-I{ROOT / 'cpp'}", "-S", "-o", "-"]
        return subprocess.run(
            [*command, str(source)], stdout=subprocess.PIPE, text=True, check=True
        ).stdout


def main() -> None:
    options = argparse.ArgumentParser(description="Cycles an element of the NEON loops.")
    options.add_argument("--cpu", default="neoverse-v1,neoverse-v2", help="names for llvm-mca")
    cpus = options.parse_args().cpu.split(",")
    mca = analyser()
    print(f"{'loop':46}{'instructions':>14}" + "".join(f"{cpu:>14}" for cpu in cpus))
    print(f"{'':46}{'a vector':>14}" + "".join(f"{'cycles/elem.':>14}" for _ in cpus))
    for loop in loops(compiled()):
        elements = loop.vectors * LANES[loop.dtype]
        what = f"{loop.dtype} {loop.name}: {MEANING[loop.name]}"
        figures = [f"{cycles(mca, cpu, loop.body) / elements:14.2f}" for cpu in cpus]
        print(f"{what:46}{len(loop.body) / loop.vectors:14.1f}" + "".join(figures))


if __name__ == "__main__":
    main()
