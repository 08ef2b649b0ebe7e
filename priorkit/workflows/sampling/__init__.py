"""What is drawn from a run: samples, sheets and pictures."""
