"""Joint training of generator and prior."""

from priorkit_joint.settings import JointSettings
from priorkit_joint.trainer import JointTrainer

__all__ = ["JointSettings", "JointTrainer"]
