"""The settings of the three reference components."""

from __future__ import annotations

import pytest

from flowctl_aio import FlowctlConfig
from flowctl_aio.components.arrow_analytics_sink.sink import COMPRESSIONS
from flowctl_aio.config.components import COMPONENTS, ArrowAnalyticsSinkSettings, StellarArrowSourceSettings
from flowctl_aio.config.definition.kinds import Boolean, Choice, Duration, Integer, Text, Words
from flowctl_aio.config.definition.setting import settings_of
from flowctl_aio.config.reading.resolve import resolve_component
from flowctl_aio.errors import ConfigError

# Every key of the first implementation.
KEYS = {
    "STELLAR_ARROW_SOURCE": """source_type backend_type rpc_endpoint archive_url core_binary_path network_passphrase
        storage_backend bucket_name gcp_project aws_region storage_path ledgers_per_file files_per_partition
        start_ledger end_ledger batch_size buffer_size concurrent_readers arrow_memory_pool compression flight_port
        health_port metrics_enabled log_level""",
    "TTP_ARROW_PROCESSOR": """source_endpoint event_types asset_filters amount_filters_min_amount
        amount_filters_max_amount processor_threads batch_size buffer_size compute_threads memory_pool include_raw_xdr
        include_transaction_details deduplicate_events flight_port health_port metrics_enabled log_level stats_interval
        network_passphrase processor_type""",
    "ARROW_ANALYTICS_SINK": """processor_endpoint output_formats parquet_path parquet_compression partition_by
        parquet_batch_size json_path json_format csv_path csv_delimiter websocket_port websocket_path
        max_websocket_connections api_port api_cache_size buffer_size writer_threads flush_interval real_time_analytics
        analytics_window retention_policy_enabled retention_policy_max_age retention_policy_max_size flight_port
        health_port metrics_enabled log_level""",
}
TEXTS = {Boolean: "false", Duration: "7s", Integer: "1500", Text: "words"}
SPECIAL = {
    "rpc_endpoint": "https://rpc",
    "archive_url": "http://archive",
    "source_endpoint": "a:1",
    "processor_endpoint": "a:1",
    "flight_port": "0.0.0.0:1",
    "health_port": "1",
    "concurrent_readers": "5",
    "writer_threads": "5",
    "processor_threads": "5",
    "compute_threads": "5",
    "processes": "5",
    "asset_filters": "native, USDC",
    "amount_filters_min_amount": "10.5",
    "amount_filters_max_amount": "922337203685.4775807",
    "csv_delimiter": ";",
    "websocket_path": "/live",
    "retention_policy_max_age": "30d",
    "retention_policy_max_size": "10GB",
}
ALL = [(component, setting) for component, kind in COMPONENTS.items() for setting in settings_of(kind).values()]
# Of the others nothing but the default is offered.
FREE = [(component, one) for component, one in ALL if not one.is_refused and not isinstance(one.kind, Words)]


def load(component, environ=None, **rest):
    return resolve_component(component, environ=environ or {}, **rest).config


def problems(component, environ=None, **rest):
    with pytest.raises(ConfigError) as caught:
        load(component, environ, **rest)
    return list(caught.value.problems)


@pytest.mark.parametrize("component", COMPONENTS)
def test_every_key_of_the_first_implementation_is_known(component):
    assert set(KEYS[component].split()) <= set(settings_of(COMPONENTS[component]))


@pytest.mark.parametrize(("component", "setting"), FREE, ids=lambda one: getattr(one, "name", one))
def test_every_key_has_its_variable_and_its_place_in_a_file(tmp_path, component, setting):
    text = SPECIAL.get(setting.name) or TEXTS.get(type(setting.kind))
    if isinstance(setting.kind, Choice):
        text = (setting.kind.offered or setting.kind.options)[-1]
    beside = {"BUCKET_NAME": "b"} if setting.name == "storage_backend" else {}
    environ = {f"{component}_{name}": one for name, one in {setting.name.upper(): text, **beside}.items()}
    value = getattr(load(component, environ), setting.name)
    assert setting.kind.parse(text) == value
    flat = "".join(f"{name.lower()}: '{one}'\n" for name, one in {setting.name: text, **beside}.items())
    file = tmp_path / "settings.yaml"
    for content in (flat, f"{component.lower()}:\n" + "".join(f"  {line}\n" for line in flat.splitlines())):
        file.write_text(content)
        assert getattr(load(component, file=file), setting.name) == value


@pytest.mark.parametrize("component", COMPONENTS)
def test_what_a_component_shares_with_its_session_is_the_same_in_both(component):
    environ = {f"{component}_PORT": "0.0.0.0:1", "HEALTH_PORT": "2", "FLOWCTL_LOG_LEVEL": "WARNING"}
    own, session = load(component, environ), FlowctlConfig.load(component, environ=environ)
    assert (own.flight_port, own.health_port, own.log_level) == (session.bind, session.health_bind, session.log_level)
    assert own.log_level == "warn"
    other = {f"{component}_FLIGHT_PORT": "3"}
    assert load(component, other).flight_port == FlowctlConfig.load(component, environ=other).bind == "127.0.0.1:3"


def test_keys_without_prefix_are_nobodys_in_the_environment():
    assert load("STELLAR_ARROW_SOURCE", {"BATCH_SIZE": "500"}).batch_size == 1000


@pytest.mark.parametrize(
    ("component", "variable", "text"),
    [
        ("STELLAR_ARROW_SOURCE", "BATCH_SIZE", "99"),
        ("STELLAR_ARROW_SOURCE", "BATCH_SIZE", "10001"),
        ("STELLAR_ARROW_SOURCE", "BUFFER_SIZE", "999"),
        ("STELLAR_ARROW_SOURCE", "CONCURRENT_READERS", "33"),
        ("STELLAR_ARROW_SOURCE", "RPC_ENDPOINT", "ftp://x"),
        ("STELLAR_ARROW_SOURCE", "COMPRESSION", "brotli"),
        ("STELLAR_ARROW_SOURCE", "SOURCE_TYPE", "captive"),
        ("STELLAR_ARROW_SOURCE", "BACKEND_TYPE", "archive"),
        ("STELLAR_ARROW_SOURCE", "STORAGE_BACKEND", "s3"),
        ("STELLAR_ARROW_SOURCE", "METRICS_ENABLED", "yes"),
        ("STELLAR_ARROW_SOURCE", "END_LEDGER", "-1"),
        ("STELLAR_ARROW_SOURCE", "BATCH_SIZE", "1e3"),
        ("TTP_ARROW_PROCESSOR", "THREADS", "0"),
        ("TTP_ARROW_PROCESSOR", "COMPUTE_THREADS", "33"),
        ("TTP_ARROW_PROCESSOR", "EVENT_TYPES", "payment"),
        ("TTP_ARROW_PROCESSOR", "EVENT_TYPES", "gift"),
        ("TTP_ARROW_PROCESSOR", "ASSET_FILTERS", "USDC:G"),
        ("TTP_ARROW_PROCESSOR", "ASSET_FILTERS", "not an asset"),
        ("TTP_ARROW_PROCESSOR", "AMOUNT_FILTERS_MIN_AMOUNT", "10,5"),
        ("TTP_ARROW_PROCESSOR", "AMOUNT_FILTERS_MAX_AMOUNT", "much"),
        ("TTP_ARROW_PROCESSOR", "STATS_INTERVAL", "30"),
        ("ARROW_ANALYTICS_SINK", "OUTPUT_FORMATS", "parquet,json"),
        ("ARROW_ANALYTICS_SINK", "PARTITION_BY", "date,hour"),
        ("ARROW_ANALYTICS_SINK", "PARQUET_COMPRESSION", "zip"),
        ("ARROW_ANALYTICS_SINK", "CSV_DELIMITER", ";;"),
        ("ARROW_ANALYTICS_SINK", "WEBSOCKET_PORT", "65536"),
        ("ARROW_ANALYTICS_SINK", "API_CACHE_SIZE", "999"),
        ("ARROW_ANALYTICS_SINK", "RETENTION_POLICY_ENABLED", "true"),
        ("ARROW_ANALYTICS_SINK", "RETENTION_POLICY_MAX_AGE", "30 days"),
        ("ARROW_ANALYTICS_SINK", "RETENTION_POLICY_MAX_SIZE", "10"),
    ],
)
def test_what_is_out_of_bounds_or_not_offered_is_refused_by_name(component, variable, text):
    assert f"{component}_{variable}" in " ".join(problems(component, {f"{component}_{variable}": text}))


def test_filters_are_read_as_the_first_implementation_wrote_them_and_nonsense_is_refused(tmp_path):
    file = tmp_path / "settings.yaml"
    issuer = "G" + "A" * 55
    file.write_text(f"asset_filters:\n- asset_code: USDC\n  asset_issuer: {issuer}\n- asset_code: ''\n")
    assert load("ttp_arrow_processor", file=file).asset_filters == (f"USDC:{issuer}", "native")
    assert load("ttp_arrow_processor", event_types=("mint", "fee")).event_types == ("mint", "fee")
    assert "event_types" in problems("ttp_arrow_processor", event_types=("payment",))[0]
    for wrong in ("1e3", "-1", "0.12345678", "ten"):
        assert "amount_filters_min_amount" in problems("ttp_arrow_processor", amount_filters_min_amount=wrong)[0]
    range_ = {"amount_filters_min_amount": "10", "amount_filters_max_amount": "9.9999999"}
    assert "lies above" in problems("ttp_arrow_processor", **range_)[0]
    for wrong in ("[{asset: USDC}]", "[[USDC]]"):
        file.write_text(f"asset_filters: {wrong}\n")
        assert "asset_filters: must be a list of" in problems("ttp_arrow_processor", file=file)[0]
    file.write_text("event_types: []\n")
    assert "must be a list out of transfer" in problems("ttp_arrow_processor", file=file)[0]


def test_a_range_that_ends_before_it_starts_is_refused():
    environ = {"START_LEDGER": "9", "STELLAR_ARROW_SOURCE_END_LEDGER": "8"}
    assert "end_ledger 8 lies before start_ledger 9" in problems("stellar_arrow_source", environ)[0]


def test_the_data_path_is_split_into_three_and_a_path_of_its_own_wins():
    environ = {"ARROW_ANALYTICS_SINK_DATA_PATH": "/data/", "ARROW_ANALYTICS_SINK_CSV_PATH": "/csv"}
    sink = load("arrow-analytics-sink", environ)
    assert (sink.parquet_path, sink.json_path, sink.csv_path) == ("/data/parquet", "/data/json", "/csv")


def test_the_special_names_go_where_they_went():
    sink = load("arrow_analytics_sink", {"ARROW_ANALYTICS_SINK_WEBSOCKET_PORT": "9000"})
    assert (sink.websocket_port, sink.api_port) == (9000, 9000)
    assert load("ttp_arrow_processor", {"TTP_ARROW_PROCESSOR_THREADS": "7"}).processor_threads == 7


def test_what_has_no_effect_is_said_when_it_is_given():
    resolved = resolve_component("ttp_arrow_processor", environ={"TTP_ARROW_PROCESSOR_BATCH_SIZE": "500"})
    (note,) = resolved.notes
    assert note.startswith("batch_size (environment TTP_ARROW_PROCESSOR_BATCH_SIZE) is known and has no effect yet")
    assert resolve_component("ttp_arrow_processor", environ={}).notes == ()


def test_the_defaults_collide_with_nobody():
    made = [kind() for kind in COMPONENTS.values()]
    assert {one.flight_port for one in made} == {"127.0.0.1:0"}
    assert {one.health_port for one in made} == {""}
    sink = ArrowAnalyticsSinkSettings()
    assert len({8080, sink.websocket_port, sink.api_port}) == 3


@pytest.mark.parametrize(
    ("settings", "url"),
    [
        ({}, "./data/ledgers"),
        ({"storage_path": "/lake"}, "/lake"),
        ({"storage_backend": "s3", "bucket_name": "bucket/v1"}, "s3://bucket/v1"),
        ({"storage_backend": "gcs", "bucket_name": "bucket"}, "gs://bucket"),
        ({"source_type": "synthetic", "storage_backend": "s3"}, ""),
        ({"source_type": "rpc", "storage_backend": "s3"}, ""),
        ({"backend_type": "rpc"}, ""),
    ],
)
def test_the_lake_is_one_address(settings, url):
    assert StellarArrowSourceSettings(**settings).lake_url == url


def test_the_codecs_are_those_that_the_sink_has():
    kind = settings_of(ArrowAnalyticsSinkSettings)["parquet_compression"].kind
    assert isinstance(kind, Choice)
    assert kind.options == COMPRESSIONS


def test_a_component_may_be_named_by_its_dataclass():
    environ = {"STELLAR_ARROW_SOURCE_BATCH_SIZE": "500"}
    assert resolve_component(StellarArrowSourceSettings, environ=environ).config.batch_size == 500


def test_a_component_that_is_none_of_the_three_has_no_settings():
    assert "stellar_arrow_source, ttp_arrow_processor, arrow_analytics_sink" in problems("my_sink")[0]
