"""The v1 dialect's messages and stubs, flat: always written `wire.v1.X`.

Messages load with the module; a stub or a servicer loads grpc when it is first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from flowctl_aio._wire.v1.common_pb2 import ComponentHealth as ComponentHealth
from flowctl_aio._wire.v1.common_pb2 import ComponentInfo as ComponentInfo
from flowctl_aio._wire.v1.common_pb2 import ComponentType as ComponentType
from flowctl_aio._wire.v1.common_pb2 import Event as Event
from flowctl_aio._wire.v1.common_pb2 import HealthCheckRequest as HealthCheckRequest
from flowctl_aio._wire.v1.common_pb2 import HealthCheckResponse as HealthCheckResponse
from flowctl_aio._wire.v1.common_pb2 import HealthStatus as HealthStatus
from flowctl_aio._wire.v1.common_pb2 import StellarCursor as StellarCursor
from flowctl_aio._wire.v1.consumer_pb2 import ConsumeResponse as ConsumeResponse
from flowctl_aio._wire.v1.control_plane_pb2 import ComponentStatusRequest as ComponentStatusRequest
from flowctl_aio._wire.v1.control_plane_pb2 import ComponentStatusResponse as ComponentStatusResponse
from flowctl_aio._wire.v1.control_plane_pb2 import DiscoveryRequest as DiscoveryRequest
from flowctl_aio._wire.v1.control_plane_pb2 import DiscoveryResponse as DiscoveryResponse
from flowctl_aio._wire.v1.control_plane_pb2 import HeartbeatRequest as HeartbeatRequest
from flowctl_aio._wire.v1.control_plane_pb2 import ListComponentsRequest as ListComponentsRequest
from flowctl_aio._wire.v1.control_plane_pb2 import ListComponentsResponse as ListComponentsResponse
from flowctl_aio._wire.v1.control_plane_pb2 import RegisterRequest as RegisterRequest
from flowctl_aio._wire.v1.control_plane_pb2 import RegisterResponse as RegisterResponse
from flowctl_aio._wire.v1.control_plane_pb2 import UnregisterRequest as UnregisterRequest
from flowctl_aio._wire.v1.source_pb2 import SaveStateRequest as SaveStateRequest
from flowctl_aio._wire.v1.source_pb2 import StateRequest as StateRequest
from flowctl_aio._wire.v1.source_pb2 import StateResponse as StateResponse
from flowctl_aio._wire.v1.source_pb2 import StreamRequest as StreamRequest

if TYPE_CHECKING:
    from flowctl_aio._wire.v1.consumer_pb2_grpc import ConsumerServiceServicer as ConsumerServiceServicer
    from flowctl_aio._wire.v1.consumer_pb2_grpc import ConsumerServiceStub as ConsumerServiceStub
    from flowctl_aio._wire.v1.control_plane_pb2_grpc import ControlPlaneServiceServicer as ControlPlaneServiceServicer
    from flowctl_aio._wire.v1.control_plane_pb2_grpc import ControlPlaneServiceStub as ControlPlaneServiceStub
    from flowctl_aio._wire.v1.processor_pb2_grpc import ProcessorServiceServicer as ProcessorServiceServicer
    from flowctl_aio._wire.v1.processor_pb2_grpc import ProcessorServiceStub as ProcessorServiceStub
    from flowctl_aio._wire.v1.source_pb2_grpc import SourceServiceServicer as SourceServiceServicer
    from flowctl_aio._wire.v1.source_pb2_grpc import SourceServiceStub as SourceServiceStub

_SERVICES = {
    "ConsumerService": "consumer",
    "ControlPlaneService": "control_plane",
    "ProcessorService": "processor",
    "SourceService": "source",
}


def __getattr__(name: str) -> Any:
    service = name.removeprefix("add_").removesuffix("_to_server").removesuffix("Servicer").removesuffix("Stub")
    if service not in _SERVICES or service == name:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"flowctl_aio._wire.v1.{_SERVICES[service]}_pb2_grpc"), name)
