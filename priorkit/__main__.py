"""`python -m priorkit` is the command `priorkit`."""

from priorkit.cli import main

if __name__ == "__main__":
    main()
