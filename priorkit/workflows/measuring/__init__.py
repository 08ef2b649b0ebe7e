"""The metrics of a run, each with its protocol."""
