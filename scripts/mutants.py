"""How much the tests notice: mutants of core, chains, priors and metrics, each tried against the tests that run its line.

    pip install -e '.[dev,mutation]'
    python scripts/mutants.py --mutants 200 --seed 1 --write docs/results/mutants.md

It works on copies of the last commit.  One run of the tests with coverage tells which tests run which line, and how long
each takes; then every mutant gets those tests, the quickest first, up to `--seconds` of them.  Places are drawn at random,
then one of the changes that cosmic-ray knows for a place.  Left out are type annotations, whose mutants fail at import, and
what only guards against mistakes elsewhere: the arguments of `@dataclass` and `strict=` of `zip`.  A default of an option is
tested by the reference page, which shows it.
"""

import argparse
import ast
import json
import os
import random
import shlex
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

MUTATED = (
    "priorkit/core", "priorkit/mcmc", "priorkit/metrics", "plugins/priorkit_gaussian", "plugins/priorkit_multistage",
    "plugins/priorkit_jointebm", "plugins/priorkit_ncp", "plugins/priorkit_diffusion", "plugins/priorkit_vdrme",
)  # fmt: skip
TESTS = (
    "core", "samplers", "energies", "priors", "metrics", "joint", "testing", "likelihoods",
    "engine", "config", "workflows", "data", "python", "comparison", "report", "runs", "layout",
)  # fmt: skip
REFERENCE = "tests/docs/test_reference.py"
TIMEOUT = 300
"""Seconds after which a mutant counts as noticed: it runs for ever."""


@dataclass(frozen=True)
class Mutant:
    """One change, and the tests that run its line."""

    path: str
    line: int
    operator: str
    occurrence: int
    tests: tuple[str, ...]


@dataclass(frozen=True)
class Outcome:
    """Whether the tests noticed a mutant, and its change as a diff."""

    mutant: Mutant
    noticed: bool
    diff: str


def copy_of_head(folder: Path) -> Path:
    """A clone of the last commit."""
    subprocess.run(["git", "clone", "--quiet", ".", str(folder)], check=True)
    return folder


def environment(copy: Path) -> dict[str, str]:
    """In which the copy's code is the one that is imported."""
    places = os.pathsep.join(str(copy / name) for name in ("", "plugins", "benchmarks"))
    return os.environ | {"PYTHONPATH": places, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}


def covered(copy: Path) -> tuple[dict[tuple[str, int], set[str]], dict[str, float]]:
    """The tests that run each line of each file, and the seconds that each test takes.  Raises where the tests fail."""
    sources = [f"--cov={name}" for name in MUTATED]
    command = [sys.executable, "-m", "pytest", "-q", "-n", "2", *sources, "--cov-context=test", "--cov-report="]
    command += ["--junitxml=times.xml", *(f"tests/{name}" for name in TESTS)]
    subprocess.run(command, cwd=copy, env=environment(copy), check=True)
    report = [sys.executable, "-m", "coverage", "json", "--show-contexts", "--quiet", "-o", "lines.json"]
    subprocess.run(report, cwd=copy, env=environment(copy), check=True)
    seconds = {}
    for case in ElementTree.parse(copy / "times.xml").iter("testcase"):
        path = case.attrib["classname"].replace(".", "/") + ".py"
        seconds[f"{path}::{case.attrib['name']}"] = float(case.attrib["time"])
    lines = defaultdict(set)
    for path, found in json.loads((copy / "lines.json").read_text())["files"].items():
        for line, contexts in found["contexts"].items():
            lines[path, int(line)] |= {context.rpartition("|")[0] for context in contexts if context}
    return lines, seconds


def left_out(path: Path) -> set[tuple[int, int]]:
    """(line, column) of everything in type annotations, in the arguments of `@dataclass` and in `strict=`."""
    roots: list[ast.AST | None] = []
    for node in ast.walk(ast.parse(path.read_text())):
        roots += [getattr(node, "annotation", None), getattr(node, "returns", None)]
        roots += [made for made in getattr(node, "decorator_list", ()) if "dataclass" in ast.unparse(made)]
        if isinstance(node, ast.keyword) and node.arg == "strict":
            roots.append(node.value)
    nodes = [part for root in roots if isinstance(root, ast.AST) for part in ast.walk(root)]
    return {(part.lineno, part.col_offset) for part in nodes if isinstance(part, ast.expr)}


def places(copy: Path) -> dict[tuple[str, tuple[int, int]], list[tuple[str, int]]]:
    """Every place that can be changed, with the operators, and their occurrence numbers, that change it."""
    from cosmic_ray.commands import init
    from cosmic_ray.work_db import WorkDB, use_db

    os.chdir(copy)
    modules = [path for name in MUTATED for path in sorted(Path(name).rglob("*.py"))]
    excluded = {str(path): left_out(path) for path in modules}
    found = defaultdict(list)
    with use_db(str(copy / "mutants.sqlite"), WorkDB.Mode.create) as database:
        init(modules, database, {})
        for item in database.work_items:
            (one,) = item.mutations
            if one.start_pos not in excluded[str(one.module_path)] and "BitOr" not in one.operator_name:
                found[str(one.module_path), one.start_pos].append((one.operator_name, one.occurrence))
    return found


def drawn(copy: Path, count: int, seed: int, budget: float) -> list[Mutant]:
    """A random sample of mutants with their tests."""
    lines, seconds = covered(copy)
    by_file = defaultdict(set)
    for (path, _), tests in lines.items():
        by_file[path] |= tests
    chance, found = random.Random(seed), places(copy)
    sample = []
    for path, (line, column) in chance.sample(sorted(found), count):
        operator, occurrence = chance.choice(found[path, (line, column)])
        # What runs at import, as a constant does, is run by every test of the file.
        tests = lines.get((path, line)) or by_file[path]
        tests = tests | {REFERENCE} if path.endswith("settings.py") else tests
        sample.append(Mutant(path, line, operator, occurrence, tuple(within(tests, seconds, budget))))
    return sample


def within(tests: Iterable[str], seconds: dict[str, float], budget: float) -> Iterator[str]:
    """The quickest tests, as many as the budget of seconds allows."""
    for test in sorted(tests, key=lambda name: (seconds.get(name, 0.0), name)):
        budget -= seconds.get(test, 0.0)
        if budget < 0:
            return
        yield test


def tried(copy: Path, mutant: Mutant) -> Outcome:
    """Change the copy, run the tests, change it back."""
    from cosmic_ray.mutating import mutate_and_test
    from cosmic_ray.work_item import MutationSpec

    os.chdir(copy)
    os.environ.update(environment(copy))
    listed = copy / "tests.txt"
    listed.write_text("\n".join(mutant.tests))
    command = shlex.join([sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", f"@{listed}"])
    spec = MutationSpec(mutant.path, mutant.operator, mutant.occurrence, (mutant.line, 0), (mutant.line, 1))
    found = mutate_and_test([spec], command, TIMEOUT)
    return Outcome(mutant, bool(mutant.tests) and found.is_killed, found.diff or found.output or "")


def page(outcomes: list[Outcome], command: str) -> str:
    """Markdown: the score, and each mutant that no test noticed."""
    alive = [outcome for outcome in outcomes if not outcome.noticed]
    score = 1 - len(alive) / len(outcomes)
    text = [f"`{command}`: {len(outcomes)} mutants, {len(outcomes) - len(alive)} noticed, score {score:.1%}.", ""]
    for outcome in alive:
        changed = [line for line in outcome.diff.splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---")]
        text += [f"- `{outcome.mutant.path}:{outcome.mutant.line}` ({len(outcome.mutant.tests)} tests)", "", "  ```diff"]
        text += [f"  {line}" for line in changed] + ["  ```", ""]
    return "\n".join(text)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutants", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=30, help="of tests per mutant, by their time with coverage")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--write", type=Path, help="also write the page to this file")
    given = parser.parse_args()
    write = None if given.write is None else given.write.absolute()
    with tempfile.TemporaryDirectory() as folder:
        copies = [copy_of_head(Path(folder) / f"copy-{k}") for k in range(given.processes + 1)]
        sample = drawn(copies.pop(), given.mutants, given.seed, given.seconds)
        with_pools = [(copy, ProcessPoolExecutor(1)) for copy in copies]
        waiting = [pool.submit(tried, copy, mutant) for mutant, (copy, pool) in zip(sample, cycle(with_pools))]
        outcomes = []
        for number, one in enumerate(waiting, 1):
            outcomes.append(one.result())
            last = outcomes[-1]
            told = "noticed" if last.noticed else "SURVIVED"
            print(f"{number}/{len(sample)} {told} {last.mutant.path}:{last.mutant.line} {last.mutant.operator}", flush=True)
        for _, pool in with_pools:
            pool.shutdown()
    command = f"python scripts/mutants.py --mutants {given.mutants} --seed {given.seed} --seconds {given.seconds:g}"
    text = page(outcomes, command)
    print(text)
    if write is not None:
        write.write_text(text)


if __name__ == "__main__":
    main()
