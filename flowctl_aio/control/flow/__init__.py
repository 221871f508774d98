"""What is in flight, what may be, and who is told when it is too much."""

from flowctl_aio.control.flow.control import FlowControl as FlowControl
from flowctl_aio.control.flow.signals import Signal as Signal
from flowctl_aio.control.flow.signals import Signals as Signals
