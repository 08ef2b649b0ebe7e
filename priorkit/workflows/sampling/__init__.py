"""Samples of a run: arrays, sheets and pictures."""
