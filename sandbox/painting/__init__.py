"""Pictures painted from a seed, close enough to photos to try photo software on."""

from sandbox.painting.scenes import SCENES, paint, scene_for

__all__ = ["SCENES", "paint", "scene_for"]
