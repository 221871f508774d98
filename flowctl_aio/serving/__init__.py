"""A component → the gRPC services of both dialects."""

from flowctl_aio.serving.served import Served as Served
from flowctl_aio.serving.served import Traffic as Traffic
from flowctl_aio.serving.services import services_of as services_of
