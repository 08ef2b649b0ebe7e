"""A run's folder: its contents, how they are written safely, and how they are read as a model."""
