"""Import, export and sharing of runs: the Hub, checkpoints of other programs."""
