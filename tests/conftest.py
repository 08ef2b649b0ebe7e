"""Property-based tests run without a deadline: a busy machine is not a defect."""

from hypothesis import settings

settings.register_profile("priorkit", deadline=None)
settings.load_profile("priorkit")
