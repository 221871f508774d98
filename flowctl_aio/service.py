"""The names that components agree on: event types, metadata keys, and builders for ServiceInfo.

The strings are a contract with components that already run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from flowctl_aio.errors import ConfigError
from flowctl_aio.types import NOTHING, ServiceInfo, ServiceType

STELLAR_LEDGER_EVENT_TYPE = "stellar_ledger_service.StellarLedger"
TTP_EVENT_TYPE = "ttp_event_service.TTPEvent"
RAW_LEDGER_EVENT_TYPE = "raw_ledger_service.RawLedger"
STELLAR_TRANSACTION_EVENT_TYPE = "stellar_transaction_service.StellarTransaction"
STELLAR_OPERATION_EVENT_TYPE = "stellar_operation_service.StellarOperation"
ANALYTICS_EVENT_TYPE = "analytics_service.AnalyticsEvent"

NETWORK_KEY = "network"
STORAGE_TYPE_KEY = "storage_type"
OUTPUT_FORMATS_KEY = "output_formats"
BACKEND_TYPE_KEY = "backend_type"
PROCESSOR_TYPE_KEY = "processor_type"
EVENT_TYPES_KEY = "event_types"
STORAGE_PATHS_KEY = "storage_paths"
WEBSOCKET_ENABLED_KEY = "websocket_enabled"
API_ENABLED_KEY = "api_enabled"
ENDPOINTS_KEY = "endpoints"
COMPRESSION_KEY = "compression"
BATCH_SIZE_KEY = "batch_size"
CONCURRENT_READERS_KEY = "concurrent_readers"
INSTANCE_ID_KEY = "instance_id"

INT32_MAX = 2**31 - 1


def create_source_service_info(
    component_id: str,
    output_event_types: Sequence[str],
    *,
    endpoint: str = "",
    max_inflight: int = 1000,
    metadata: Mapping[str, str] = NOTHING,
) -> ServiceInfo:
    """Describe a source that gives `output_event_types`."""
    return _service_info(
        component_id,
        ServiceType.SOURCE,
        outputs=output_event_types,
        endpoint=endpoint,
        max_inflight=max_inflight,
        metadata=metadata,
    )


def create_processor_service_info(
    component_id: str,
    input_event_types: Sequence[str],
    output_event_types: Sequence[str],
    *,
    endpoint: str = "",
    max_inflight: int = 1000,
    metadata: Mapping[str, str] = NOTHING,
) -> ServiceInfo:
    """Describe a processor that turns `input_event_types` into `output_event_types`."""
    return _service_info(
        component_id,
        ServiceType.PROCESSOR,
        inputs=input_event_types,
        outputs=output_event_types,
        endpoint=endpoint,
        max_inflight=max_inflight,
        metadata=metadata,
    )


def create_sink_service_info(
    component_id: str,
    input_event_types: Sequence[str],
    *,
    endpoint: str = "",
    max_inflight: int = 1000,
    metadata: Mapping[str, str] = NOTHING,
) -> ServiceInfo:
    """Describe a sink that takes `input_event_types`."""
    return _service_info(
        component_id,
        ServiceType.SINK,
        inputs=input_event_types,
        endpoint=endpoint,
        max_inflight=max_inflight,
        metadata=metadata,
    )


def build_stellar_source_metadata(
    network: str, storage_type: str, backend_type: str, additional: Mapping[str, str] = NOTHING
) -> dict[str, str]:
    """The metadata of a Stellar source; `additional` is merged last and wins."""
    return {NETWORK_KEY: network, STORAGE_TYPE_KEY: storage_type, BACKEND_TYPE_KEY: backend_type, **additional}


def build_ttp_processor_metadata(
    network: str, event_types: Sequence[str], additional: Mapping[str, str] = NOTHING
) -> dict[str, str]:
    """The metadata of a token-transfer processor; `additional` is merged last and wins."""
    return {
        NETWORK_KEY: network,
        PROCESSOR_TYPE_KEY: "ttp_event_extraction",
        EVENT_TYPES_KEY: ",".join(event_types),
        **additional,
    }


def build_analytics_sink_metadata(
    output_formats: Sequence[str], endpoints: Sequence[str] = (), additional: Mapping[str, str] = NOTHING
) -> dict[str, str]:
    """The metadata of an analytics sink; `additional` is merged last and wins."""
    enabled = {
        key: "true"
        for key, name in ((WEBSOCKET_ENABLED_KEY, "websocket"), (API_ENABLED_KEY, "api"))
        if name in output_formats
    }
    return {
        OUTPUT_FORMATS_KEY: ",".join(output_formats),
        ENDPOINTS_KEY: ",".join(endpoints),
        **enabled,
        **additional,
    }


def _service_info(
    component_id: str,
    service_type: ServiceType,
    *,
    inputs: Sequence[str] = (),
    outputs: Sequence[str] = (),
    endpoint: str,
    max_inflight: int,
    metadata: Mapping[str, str],
) -> ServiceInfo:
    if not 0 <= max_inflight <= INT32_MAX:  # the wire has an int32
        raise ConfigError(f"max_inflight is {max_inflight}, outside 0 to {INT32_MAX}")
    return ServiceInfo(
        component_id=component_id,
        service_type=service_type,
        input_event_types=tuple(inputs),
        output_event_types=tuple(outputs),
        endpoint=endpoint,
        max_inflight=max_inflight,
        metadata=dict(metadata),
    )
