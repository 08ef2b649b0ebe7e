"""Runs and checkpoints that come and go: the hub, other programs' files."""
