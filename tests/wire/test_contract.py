"""Claims about the generated messages, enums and services: they are those of the contract, and nothing more."""

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

from .table import CLASSIC_ENUMS, CLASSIC_MESSAGES, CLASSIC_SERVICES, V1_ENUMS, V1_MESSAGES, V1_SERVICES

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
