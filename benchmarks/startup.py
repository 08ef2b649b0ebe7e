"""How long the command line takes to answer, as a multiple of `import typer, rich`."""

import statistics
import subprocess
import sys
import time

COMMANDS = {"--help": ["-m", "priorkit", "--help"], "plugins list": ["-m", "priorkit", "plugins", "list"]}
BASE = ["-c", "import typer, rich"]
ROUNDS = 15


def seconds(arguments: list[str]) -> float:
    """Wall time of one fresh interpreter."""
    begin = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begin


def main() -> None:
    """Print the median of each, taken in turns so that other load falls on all alike."""
    rows = {"import typer, rich": BASE, **COMMANDS}
    times: dict[str, list[float]] = {name: [] for name in rows}
    for _ in range(ROUNDS):
        for name, arguments in rows.items():
            times[name].append(seconds(arguments))
    medians = {name: statistics.median(values) for name, values in times.items()}
    base = medians["import typer, rich"]
    for name, value in medians.items():
        print(f"{name:20s} {1000 * value:7.1f} ms  {value / base:5.2f} x")


if __name__ == "__main__":
    main()
