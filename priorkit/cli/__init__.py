"""The command line: one thin file per command.  A command imports what it needs when it is called, and not before."""

from priorkit.cli.app import app, main

__all__ = ["app", "main"]
