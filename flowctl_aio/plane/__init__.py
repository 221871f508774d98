"""The embedded control plane: what a real flowctl does for components, in this process, without its bugs."""

from flowctl_aio.plane.methods import Gate
from flowctl_aio.plane.server import EmbeddedControlPlane

__all__ = ["EmbeddedControlPlane", "Gate"]
