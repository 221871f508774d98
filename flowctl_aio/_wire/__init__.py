"""The classic dialect's messages and stubs, flat: always written `wire.X`; the v1 dialect is `wire.v1.X`.

Messages load with the module; a stub or a servicer loads grpc when it is first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from google.protobuf.empty_pb2 import Empty as Empty
from google.protobuf.timestamp_pb2 import Timestamp as Timestamp

from flowctl_aio._wire import v1 as v1
from flowctl_aio._wire.classic.common_pb2 import Event as Event
from flowctl_aio._wire.classic.common_pb2 import Pong as Pong
from flowctl_aio._wire.classic.common_pb2 import ShutdownRequest as ShutdownRequest
from flowctl_aio._wire.classic.control_plane_pb2 import ChunkRun as ChunkRun
from flowctl_aio._wire.classic.control_plane_pb2 import ChunkStatus as ChunkStatus
from flowctl_aio._wire.classic.control_plane_pb2 import ComponentMetrics as ComponentMetrics
from flowctl_aio._wire.classic.control_plane_pb2 import CreatePipelineRunRequest as CreatePipelineRunRequest
from flowctl_aio._wire.classic.control_plane_pb2 import FailureClass as FailureClass
from flowctl_aio._wire.classic.control_plane_pb2 import GetChunkRunRequest as GetChunkRunRequest
from flowctl_aio._wire.classic.control_plane_pb2 import GetPipelineRunRequest as GetPipelineRunRequest
from flowctl_aio._wire.classic.control_plane_pb2 import ListChunkRunsRequest as ListChunkRunsRequest
from flowctl_aio._wire.classic.control_plane_pb2 import ListChunkRunsResponse as ListChunkRunsResponse
from flowctl_aio._wire.classic.control_plane_pb2 import ListPipelineRunsRequest as ListPipelineRunsRequest
from flowctl_aio._wire.classic.control_plane_pb2 import ListPipelineRunsResponse as ListPipelineRunsResponse
from flowctl_aio._wire.classic.control_plane_pb2 import PipelineRun as PipelineRun
from flowctl_aio._wire.classic.control_plane_pb2 import RegistrationAck as RegistrationAck
from flowctl_aio._wire.classic.control_plane_pb2 import RunMetrics as RunMetrics
from flowctl_aio._wire.classic.control_plane_pb2 import RunStatus as RunStatus
from flowctl_aio._wire.classic.control_plane_pb2 import ServiceHeartbeat as ServiceHeartbeat
from flowctl_aio._wire.classic.control_plane_pb2 import ServiceInfo as ServiceInfo
from flowctl_aio._wire.classic.control_plane_pb2 import ServiceList as ServiceList
from flowctl_aio._wire.classic.control_plane_pb2 import ServiceStatus as ServiceStatus
from flowctl_aio._wire.classic.control_plane_pb2 import ServiceType as ServiceType
from flowctl_aio._wire.classic.control_plane_pb2 import StopPipelineRunRequest as StopPipelineRunRequest
from flowctl_aio._wire.classic.control_plane_pb2 import UpdatePipelineRunRequest as UpdatePipelineRunRequest
from flowctl_aio._wire.classic.control_plane_pb2 import UpsertChunkRunRequest as UpsertChunkRunRequest
from flowctl_aio._wire.classic.processor_pb2 import ProcessorError as ProcessorError
from flowctl_aio._wire.classic.sink_pb2 import SinkAck as SinkAck
from flowctl_aio._wire.classic.source_pb2 import RawLedger as RawLedger
from flowctl_aio._wire.classic.source_pb2 import SourceRequest as SourceRequest
from flowctl_aio._wire.payloads.ledger_pb2 import StellarLedger as StellarLedger

if TYPE_CHECKING:
    from flowctl_aio._wire.classic.control_plane_pb2_grpc import ControlPlaneServicer as ControlPlaneServicer
    from flowctl_aio._wire.classic.control_plane_pb2_grpc import ControlPlaneStub as ControlPlaneStub
    from flowctl_aio._wire.classic.processor_pb2_grpc import EventProcessorServicer as EventProcessorServicer
    from flowctl_aio._wire.classic.processor_pb2_grpc import EventProcessorStub as EventProcessorStub
    from flowctl_aio._wire.classic.sink_pb2_grpc import EventSinkServicer as EventSinkServicer
    from flowctl_aio._wire.classic.sink_pb2_grpc import EventSinkStub as EventSinkStub
    from flowctl_aio._wire.classic.source_pb2_grpc import LedgerSourceServicer as LedgerSourceServicer
    from flowctl_aio._wire.classic.source_pb2_grpc import LedgerSourceStub as LedgerSourceStub

_SERVICES = {
    "ControlPlane": "control_plane",
    "EventProcessor": "processor",
    "EventSink": "sink",
    "LedgerSource": "source",
}


def __getattr__(name: str) -> Any:
    service = name.removeprefix("add_").removesuffix("_to_server").removesuffix("Servicer").removesuffix("Stub")
    if service not in _SERVICES or service == name:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"flowctl_aio._wire.classic.{_SERVICES[service]}_pb2_grpc"), name)
