import ast
import subprocess
import sys

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import FieldDescriptor

from flowctl_aio import _wire as wire
from flowctl_aio._wire.classic import common_pb2, control_plane_pb2, processor_pb2, sink_pb2, source_pb2
from flowctl_aio._wire.payloads import ledger_pb2
from flowctl_aio._wire.v1 import common_pb2 as v1_common_pb2
from flowctl_aio._wire.v1 import consumer_pb2 as v1_consumer_pb2
from flowctl_aio._wire.v1 import control_plane_pb2 as v1_control_plane_pb2
from flowctl_aio._wire.v1 import processor_pb2 as v1_processor_pb2
from flowctl_aio._wire.v1 import source_pb2 as v1_source_pb2

# Typed in by hand from the published contract, so that nothing generated vouches for itself.
# A message has one `number name type` a line; types without a dot are scalars, or of the same package.

CLASSIC_MESSAGES = {
    "Event": """
        1 event_type string
        2 payload bytes
        3 schema_version uint32
        4 timestamp google.protobuf.Timestamp
        5 metadata map<string,string>
    """,
    "Pong": """
        1 version string
        2 healthy bool
    """,
    "ShutdownRequest": """
        1 graceful bool
        2 reason string
    """,
    "ServiceInfo": """
        1 service_id string
        2 service_type ServiceType
        3 input_event_types repeated string
        4 output_event_types repeated string
        5 health_endpoint string
        6 max_inflight int32
        7 metadata map<string,string>
        8 component_id string
    """,
    "RegistrationAck": """
        1 service_id string
        2 topic_names repeated string
        3 connection_info map<string,string>
    """,
    "ServiceHeartbeat": """
        1 service_id string
        2 timestamp google.protobuf.Timestamp
        3 metrics map<string,double>
    """,
    "ServiceStatus": """
        1 service_id string
        2 service_type ServiceType
        3 is_healthy bool
        4 last_heartbeat google.protobuf.Timestamp
        5 metrics map<string,double>
        6 component_id string
    """,
    "ServiceList": """
        1 services repeated ServiceStatus
    """,
    "RunMetrics": """
        1 events_processed int64
        2 events_per_second double
        3 bytes_processed int64
        4 component_metrics map<string,ComponentMetrics>
    """,
    "ComponentMetrics": """
        1 events_in int64
        2 events_out int64
        3 bytes_in int64
        4 bytes_out int64
        5 processing_time_ms double
    """,
    "PipelineRun": """
        1 run_id string
        2 pipeline_id string
        3 pipeline_name string
        4 status RunStatus
        5 start_time google.protobuf.Timestamp
        6 end_time google.protobuf.Timestamp
        7 config_yaml string
        8 metrics RunMetrics
        9 error string
        10 component_ids repeated string
    """,
    "CreatePipelineRunRequest": """
        1 run_id string
        2 pipeline_name string
        3 config_yaml string
        4 component_ids repeated string
    """,
    "UpdatePipelineRunRequest": """
        1 run_id string
        2 status RunStatus
        3 metrics RunMetrics
        4 error string
    """,
    "GetPipelineRunRequest": """
        1 run_id string
    """,
    "ListPipelineRunsRequest": """
        1 pipeline_name string
        2 status RunStatus
        3 limit int32
    """,
    "ListPipelineRunsResponse": """
        1 runs repeated PipelineRun
    """,
    "StopPipelineRunRequest": """
        1 run_id string
    """,
    "RawLedger": """
        1 ledger_sequence uint32
        2 xdr_data bytes
        3 timestamp google.protobuf.Timestamp
        4 network string
        5 metadata map<string,string>
    """,
    "SourceRequest": """
        1 network string
        2 start_ledger uint32
        3 params map<string,string>
    """,
    "ProcessorError": """
        1 processor_id string
        2 error_type string
        3 message string
        4 original_event bytes
        5 timestamp google.protobuf.Timestamp
        6 context map<string,string>
    """,
    "SinkAck": """
        1 success bool
        2 error string
        3 metadata map<string,string>
    """,
}
CLASSIC_ENUMS = {
    "ServiceType": {
        "SERVICE_TYPE_UNSPECIFIED": 0,
        "SERVICE_TYPE_SOURCE": 1,
        "SERVICE_TYPE_PROCESSOR": 2,
        "SERVICE_TYPE_SINK": 3,
        "SERVICE_TYPE_PIPELINE": 4,
    },
    "RunStatus": {
        "RUN_STATUS_UNKNOWN": 0,
        "RUN_STATUS_STARTING": 1,
        "RUN_STATUS_RUNNING": 2,
        "RUN_STATUS_COMPLETED": 3,
        "RUN_STATUS_FAILED": 4,
        "RUN_STATUS_STOPPED": 5,
    },
}
EMPTY = "google.protobuf.Empty"
PING_AND_SHUTDOWN = {"Ping": f"{EMPTY} → Pong", "Shutdown": f"ShutdownRequest → {EMPTY}"}
CLASSIC_SERVICES = {
    "ControlPlane": {
        "Register": "ServiceInfo → RegistrationAck",
        "Heartbeat": f"ServiceHeartbeat → {EMPTY}",
        "GetServiceStatus": "ServiceInfo → ServiceStatus",
        "ListServices": f"{EMPTY} → ServiceList",
        "CreatePipelineRun": "CreatePipelineRunRequest → PipelineRun",
        "UpdatePipelineRun": "UpdatePipelineRunRequest → PipelineRun",
        "GetPipelineRun": "GetPipelineRunRequest → PipelineRun",
        "ListPipelineRuns": "ListPipelineRunsRequest → ListPipelineRunsResponse",
        "StopPipelineRun": "StopPipelineRunRequest → PipelineRun",
    },
    "LedgerSource": {"StreamRawLedgers": "SourceRequest → stream RawLedger", **PING_AND_SHUTDOWN},
    "EventProcessor": {"Process": "stream Event → stream Event", **PING_AND_SHUTDOWN},
    "EventSink": {"Ingest": "stream Event → SinkAck", **PING_AND_SHUTDOWN},
}

V1_MESSAGES = {
    "Event": """
        1 id string
        2 type string
        3 payload bytes
        4 metadata map<string,string>
        5 timestamp google.protobuf.Timestamp
        6 source_component_id string
        7 content_type string
        8 stellar_cursor optional StellarCursor
    """,
    "StellarCursor": """
        1 ledger_sequence uint64
        2 index_in_ledger uint32
    """,
    "ComponentInfo": """
        1 id string
        2 name string
        3 description string
        4 version string
        5 type ComponentType
        6 input_event_types repeated string
        7 output_event_types repeated string
        8 endpoint string
        9 metadata map<string,string>
    """,
    "HealthCheckRequest": """
        1 include_details bool
    """,
    "HealthCheckResponse": """
        1 status HealthStatus
        2 metrics map<string,string>
        3 components repeated ComponentHealth
        4 message string
    """,
    "ComponentHealth": """
        1 component_name string
        2 status HealthStatus
        3 message string
    """,
    "RegisterRequest": """
        1 component ComponentInfo
        2 component_id string
    """,
    "RegisterResponse": """
        1 service_id string
        2 assigned_topics repeated string
        3 connection_info map<string,string>
    """,
    "UnregisterRequest": """
        1 service_id string
    """,
    "DiscoveryRequest": """
        1 type ComponentType
        2 event_types repeated string
        3 metadata_filters map<string,string>
    """,
    "DiscoveryResponse": """
        1 components repeated ComponentInfo
    """,
    "HeartbeatRequest": """
        1 service_id string
        2 status HealthStatus
        3 metrics map<string,string>
    """,
    "ComponentStatusRequest": """
        1 service_id string
    """,
    "ComponentStatusResponse": """
        1 component ComponentInfo
        2 status HealthStatus
        3 last_heartbeat google.protobuf.Timestamp
        4 metrics map<string,string>
        5 registered_at google.protobuf.Timestamp
    """,
    "ListComponentsRequest": """
        1 type_filter ComponentType
        2 include_unhealthy bool
    """,
    "ListComponentsResponse": """
        1 components repeated ComponentStatusResponse
    """,
    "StreamRequest": """
        1 params map<string,string>
        2 resume bool
        3 resume_token string
    """,
    "StateRequest": """
        1 key string
    """,
    "StateResponse": """
        1 state map<string,string>
        2 resume_token string
        3 last_updated_unix int64
    """,
    "SaveStateRequest": """
        1 state map<string,string>
        2 key string
    """,
    "ConsumeResponse": """
        1 events_consumed int64
        2 events_failed int64
        3 errors repeated string
    """,
}
V1_ENUMS = {
    "ComponentType": {
        "COMPONENT_TYPE_UNSPECIFIED": 0,
        "COMPONENT_TYPE_SOURCE": 1,
        "COMPONENT_TYPE_PROCESSOR": 2,
        "COMPONENT_TYPE_CONSUMER": 3,
    },
    "HealthStatus": {
        "HEALTH_STATUS_UNKNOWN": 0,
        "HEALTH_STATUS_STARTING": 1,
        "HEALTH_STATUS_HEALTHY": 2,
        "HEALTH_STATUS_DEGRADED": 3,
        "HEALTH_STATUS_UNHEALTHY": 4,
        "HEALTH_STATUS_STOPPING": 5,
    },
}
INFO_AND_HEALTH = {"GetInfo": f"{EMPTY} → ComponentInfo", "HealthCheck": "HealthCheckRequest → HealthCheckResponse"}
V1_SERVICES = {
    "ControlPlaneService": {
        "RegisterComponent": "RegisterRequest → RegisterResponse",
        "UnregisterComponent": f"UnregisterRequest → {EMPTY}",
        "DiscoverComponents": "DiscoveryRequest → DiscoveryResponse",
        "Heartbeat": f"HeartbeatRequest → {EMPTY}",
        "GetComponentStatus": "ComponentStatusRequest → ComponentStatusResponse",
        "ListComponents": "ListComponentsRequest → ListComponentsResponse",
    },
    "SourceService": {
        "StreamEvents": "StreamRequest → stream Event",
        "GetState": "StateRequest → StateResponse",
        "SaveState": f"SaveStateRequest → {EMPTY}",
        **INFO_AND_HEALTH,
    },
    "ProcessorService": {"Process": "stream Event → stream Event", **INFO_AND_HEALTH},
    "ConsumerService": {"Consume": "stream Event → ConsumeResponse", **INFO_AND_HEALTH},
}

CLASSIC_FILES = [module.DESCRIPTOR for module in (common_pb2, control_plane_pb2, processor_pb2, sink_pb2, source_pb2)]
V1_FILES = [
    module.DESCRIPTOR
    for module in (v1_common_pb2, v1_consumer_pb2, v1_control_plane_pb2, v1_processor_pb2, v1_source_pb2)
]
DIALECTS = pytest.mark.parametrize(
    ("package", "files", "messages", "enums", "services"),
    [
        pytest.param("flowctl", CLASSIC_FILES, CLASSIC_MESSAGES, CLASSIC_ENUMS, CLASSIC_SERVICES, id="classic"),
        pytest.param("flowctl.v1", V1_FILES, V1_MESSAGES, V1_ENUMS, V1_SERVICES, id="v1"),
    ],
)
SCALARS = {
    getattr(FieldDescriptor, f"TYPE_{name.upper()}"): name
    for name in ("bool", "bytes", "double", "int32", "int64", "string", "uint32", "uint64")
}


def short(full_name, package):
    return full_name.removeprefix(f"{package}.") if full_name.rpartition(".")[0] == package else full_name


def type_of(field, package):
    if field.message_type is not None:
        return short(field.message_type.full_name, package)
    return short(field.enum_type.full_name, package) if field.enum_type is not None else SCALARS[field.type]


def line_of(field, package):
    entry = field.message_type
    if entry is not None and entry.GetOptions().map_entry:
        key, value = entry.fields_by_name["key"], entry.fields_by_name["value"]
        kind = f"map<{type_of(key, package)},{type_of(value, package)}>"
    else:
        label = "repeated " if field.is_repeated else ""
        oneof = field.containing_oneof
        if oneof is not None:
            # `optional` is a oneof that protoc makes up; there are no others in the contract.
            assert (oneof.name, len(oneof.fields)) == (f"_{field.name}", 1)
            label = "optional "
        kind = label + type_of(field, package)
    return f"{field.number} {field.name} {kind}"


def lines_of(message, package):
    return [line_of(field, package) for field in sorted(message.fields, key=lambda field: field.number)]


def method_of(method, package):
    request = "stream " * method.client_streaming + short(method.input_type.full_name, package)
    response = "stream " * method.server_streaming + short(method.output_type.full_name, package)
    return f"{request} → {response}"


def lines(text):
    return [line.strip() for line in text.strip().splitlines()]


@DIALECTS
def test_every_message_has_exactly_the_fields_of_the_contract(package, files, messages, enums, services):
    found = {name: lines_of(message, package) for file in files for name, message in file.message_types_by_name.items()}
    assert found == {name: lines(text) for name, text in messages.items()}


@DIALECTS
def test_every_enum_has_exactly_the_values_of_the_contract(package, files, messages, enums, services):
    found = {
        name: {value.name: value.number for value in enum.values}
        for file in files
        for name, enum in file.enum_types_by_name.items()
    }
    assert found == enums


@DIALECTS
def test_every_service_has_exactly_the_methods_of_the_contract(package, files, messages, enums, services):
    found = {
        name: {method.name: method_of(method, package) for method in service.methods}
        for file in files
        for name, service in file.services_by_name.items()
    }
    assert found == services


@DIALECTS
def test_nothing_but_map_entries_is_nested(package, files, messages, enums, services):
    for file in files:
        assert not file.extensions_by_name
        for message in file.message_types_by_name.values():
            assert all(nested.GetOptions().map_entry for nested in message.nested_types)
            assert not message.enum_types


@DIALECTS
def test_the_package_is_the_contracts_and_the_path_is_our_own(package, files, messages, enums, services):
    # Two files of one path cannot live in one process, and upstream's are called proto/common.proto and the like.
    for file in files:
        assert file.package == package
        assert file.name.startswith("flowctl_aio/")


def test_the_payload_of_plain_ledger_events_has_the_fields_of_the_go_components():
    file = ledger_pb2.DESCRIPTOR
    assert (file.name, file.package) == ("flowctl_aio/payloads/ledger.proto", "flowctl_aio.payloads")
    assert {name: lines_of(message, file.package) for name, message in file.message_types_by_name.items()} == {
        "StellarLedger": [
            "1 sequence uint32",
            "2 ledger_close_meta_xdr bytes",
            "3 network string",
            "4 closed_at int64",
        ]
    }


def test_a_file_of_another_package_at_the_path_of_upstream_lives_beside_ours():
    # Upstream's own generated code, of a package that is not among the two dialects.
    file = descriptor_pb2.FileDescriptorProto(name="proto/common.proto", package="upstream_lookalike", syntax="proto3")
    event = file.message_type.add(name="Event")
    event.field.add(name="event_type", number=1, type=FieldDescriptor.TYPE_STRING, label=FieldDescriptor.LABEL_OPTIONAL)
    pool = descriptor_pool.Default()
    pool.AddSerializedFile(file.SerializeToString())
    theirs = message_factory.GetMessageClass(pool.FindMessageTypeByName("upstream_lookalike.Event"))
    assert wire.Event.FromString(theirs(event_type="x").SerializeToString()) == wire.Event(event_type="x")
    assert theirs.DESCRIPTOR.file.name == "proto/common.proto"


def modules_after(code):
    """Names of the modules loaded, and of the environment variables read, by a fresh interpreter that runs `code`."""
    program = f"""
import os, sys
known = set(sys.modules)
read = []
class Environment(type(os.environ)):
    def __getitem__(self, key):
        read.append(key)
        return super().__getitem__(key)
    def __iter__(self):
        read.append("*")
        return super().__iter__()
os.environ.__class__ = Environment
{code}
print((sorted(set(sys.modules) - known), read))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=50)
    loaded, read = ast.literal_eval(done.stdout)
    return {name.partition(".")[0] for name in loaded}, read


@pytest.mark.parametrize("name", ["flowctl_aio", "flowctl_aio._wire"])
def test_importing_does_not_load_grpc(name):
    loaded, _ = modules_after(f"import {name}")
    assert "flowctl_aio" in loaded
    assert "grpc" not in loaded


def test_importing_the_package_loads_nothing_heavy_and_reads_no_environment():
    loaded, read = modules_after("import flowctl_aio")
    assert not loaded & {"grpc", "pyarrow", "google", "anyio", "environs", "asyncio"}
    assert read == []


def test_the_test_above_would_notice_a_read_of_the_environment():
    _, read = modules_after("os.environ.get('FLOWCTL_ENDPOINT'); os.getenv('ENABLE_FLOWCTL')")
    assert read == ["FLOWCTL_ENDPOINT", "ENABLE_FLOWCTL"]


@pytest.mark.parametrize(
    ("dialect", "services"), [("wire", CLASSIC_SERVICES), ("wire.v1", V1_SERVICES)], ids=["classic", "v1"]
)
def test_a_stub_or_a_servicer_loads_grpc_when_it_is_asked_for(dialect, services):
    names = [name for service in services for name in (f"{service}Stub", f"{service}Servicer")]
    names += [f"add_{service}Servicer_to_server" for service in services]
    asked = "".join(f"assert callable({dialect}.{name})\n" for name in names)
    loaded, _ = modules_after(f"from flowctl_aio import _wire as wire\nassert 'grpc' not in sys.modules\n{asked}")
    assert "grpc" in loaded


@pytest.mark.parametrize("name", ["Nothing", "NothingStub", "LedgerSource", "add_LedgerSource", "Stub", "Servicer", ""])
@pytest.mark.parametrize("dialect", [wire, wire.v1], ids=["classic", "v1"])
def test_an_unknown_name_is_an_attribute_error(dialect, name):
    with pytest.raises(AttributeError):
        getattr(dialect, name)


@pytest.mark.parametrize(
    ("dialect", "names"),
    [(wire, CLASSIC_MESSAGES | CLASSIC_ENUMS), (wire.v1, V1_MESSAGES | V1_ENUMS)],
    ids=["classic", "v1"],
)
def test_every_message_and_enum_is_at_hand_under_its_own_name(dialect, names):
    for name in names:
        assert getattr(dialect, name).DESCRIPTOR.name == name
