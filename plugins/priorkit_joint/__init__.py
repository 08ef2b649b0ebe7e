"""Generator and prior learn together."""

from priorkit_joint.settings import JointSettings
from priorkit_joint.trainer import JointTrainer

__all__ = ["JointSettings", "JointTrainer"]
