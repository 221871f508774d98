import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowctl_aio import service
from flowctl_aio.errors import ConfigError
from flowctl_aio.types import ServiceType


def test_event_types_are_the_strings_that_components_already_use():
    found = {name: value for name, value in vars(service).items() if name.endswith("_EVENT_TYPE")}
    assert found == {
        "STELLAR_LEDGER_EVENT_TYPE": "stellar_ledger_service.StellarLedger",
        "TTP_EVENT_TYPE": "ttp_event_service.TTPEvent",
        "RAW_LEDGER_EVENT_TYPE": "raw_ledger_service.RawLedger",
        "STELLAR_TRANSACTION_EVENT_TYPE": "stellar_transaction_service.StellarTransaction",
        "STELLAR_OPERATION_EVENT_TYPE": "stellar_operation_service.StellarOperation",
        "ANALYTICS_EVENT_TYPE": "analytics_service.AnalyticsEvent",
    }


def test_metadata_keys_are_the_strings_that_components_already_use():
    found = {value for name, value in vars(service).items() if name.endswith("_KEY")}
    assert found == {
        "network",
        "storage_type",
        "output_formats",
        "backend_type",
        "processor_type",
        "event_types",
        "storage_paths",
        "websocket_enabled",
        "api_enabled",
        "endpoints",
        "compression",
        "batch_size",
        "concurrent_readers",
        "instance_id",
    }


def test_a_source_gives():
    info = service.create_source_service_info(
        "src", [service.STELLAR_LEDGER_EVENT_TYPE], endpoint="localhost:8815", metadata={"network": "testnet"}
    )
    assert (info.component_id, info.service_type) == ("src", ServiceType.SOURCE)
    assert (info.input_event_types, info.output_event_types) == ((), ("stellar_ledger_service.StellarLedger",))
    assert (info.endpoint, info.max_inflight, info.metadata) == ("localhost:8815", 1000, {"network": "testnet"})


def test_a_processor_takes_and_gives():
    info = service.create_processor_service_info("ttp", ["a"], ["b", "c"], max_inflight=5)
    assert (info.component_id, info.service_type) == ("ttp", ServiceType.PROCESSOR)
    assert (info.input_event_types, info.output_event_types) == (("a",), ("b", "c"))
    assert (info.endpoint, info.max_inflight, info.metadata) == ("", 5, {})


def test_a_sink_takes():
    info = service.create_sink_service_info("snk", ["a"])
    assert (info.component_id, info.service_type) == ("snk", ServiceType.SINK)
    assert (info.input_event_types, info.output_event_types) == (("a",), ())


BUILDERS = pytest.mark.parametrize(
    "build",
    [
        lambda **facts: service.create_source_service_info("id", ["a"], **facts),
        lambda **facts: service.create_processor_service_info("id", ["a"], ["b"], **facts),
        lambda **facts: service.create_sink_service_info("id", ["a"], **facts),
    ],
    ids=["source", "processor", "sink"],
)


@BUILDERS
def test_max_inflight_is_what_the_wire_can_hold(build):
    assert build(max_inflight=0).max_inflight == 0
    assert build(max_inflight=2**31 - 1).max_inflight == 2**31 - 1


@BUILDERS
@pytest.mark.parametrize("max_inflight", [-1, 2**31, 2**32 - 1])
def test_max_inflight_outside_an_int32_is_a_config_error(build, max_inflight):
    with pytest.raises(ConfigError, match=f"max_inflight is {max_inflight}"):
        build(max_inflight=max_inflight)


@BUILDERS
def test_a_service_info_keeps_its_own_copy_of_the_metadata(build):
    given_metadata = {"network": "testnet"}
    info = build(metadata=given_metadata)
    given_metadata["network"] = "mainnet"
    assert info.metadata == {"network": "testnet"}


def test_the_metadata_of_a_stellar_source():
    assert service.build_stellar_source_metadata("testnet", "datalake", "archive") == {
        "network": "testnet",
        "storage_type": "datalake",
        "backend_type": "archive",
    }


def test_the_metadata_of_a_token_transfer_processor():
    assert service.build_ttp_processor_metadata("testnet", ["payment", "mint"]) == {
        "network": "testnet",
        "processor_type": "ttp_event_extraction",
        "event_types": "payment,mint",
    }


@pytest.mark.parametrize(
    ("formats", "enabled"),
    [
        (["parquet"], {}),
        (["parquet", "websocket"], {"websocket_enabled": "true"}),
        (["api"], {"api_enabled": "true"}),
        (["websocket", "api"], {"websocket_enabled": "true", "api_enabled": "true"}),
    ],
)
def test_the_metadata_of_an_analytics_sink_says_which_servers_it_has(formats, enabled):
    assert service.build_analytics_sink_metadata(formats, ["health", "ws"]) == {
        "output_formats": ",".join(formats),
        "endpoints": "health,ws",
        **enabled,
    }


@given(st.dictionaries(st.sampled_from(["network", "processor_type", "endpoints", "own"]), st.text()))
def test_additional_metadata_wins(additional):
    for built in (
        service.build_stellar_source_metadata("n", "s", "b", additional),
        service.build_ttp_processor_metadata("n", ["e"], additional),
        service.build_analytics_sink_metadata(["json"], ["ws"], additional),
    ):
        assert additional.items() <= built.items()
