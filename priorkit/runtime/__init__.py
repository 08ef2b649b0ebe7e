"""What every floor above stands on: random streams, caches, parallel maps, progress, memory, atomic files."""
