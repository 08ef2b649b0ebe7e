# Everyday commands; `just` lists them.  Each is a plain command that works without just.

_default:
    @just --list

# What CI runs, without the installation.
check: lint test docs

# Style, types and the floors of the house.
lint:
    ruff check .
    ruff format --check .
    mypy
    lint-imports

# The whole suite, or what is named: just test tests/core
test *paths:
    python -m pytest -n 2 --dist worksteal {{ paths }}

# The site, with the reference pages made from the code.
docs:
    python scripts/make_reference.py
    mkdocs build --strict

# A benchmark: just bench digits --seeds 3
bench name *options:
    python benchmarks/{{ name }}.py {{ options }}

# Format, and mend what can be mended without thinking.
fix:
    ruff check --fix .
    ruff format .

# How much the tests notice: random mutants of core, chains, priors and metrics (hours; needs the extra `mutation`).
mutants *options:
    python scripts/mutants.py {{ options }}
