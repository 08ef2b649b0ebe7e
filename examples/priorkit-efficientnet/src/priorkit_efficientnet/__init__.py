"""Features of EfficientNet-Lite0 for priorkit."""

from priorkit_efficientnet.extractor import EfficientNetLite0, EfficientNetLite0At96

__all__ = ["EfficientNetLite0", "EfficientNetLite0At96"]
