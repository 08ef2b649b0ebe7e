"""A run's folder: what is in it, how it is written so that it survives, how it is read back as a model."""
