"""What all tests share."""

import os

# One thread for each test process and for the commands that it starts: with -n, more of them than cores wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from hypothesis import settings

# Property-based tests run without a deadline: a busy machine is not a defect.
settings.register_profile("priorkit", deadline=None)
settings.load_profile("priorkit")
