"""The published contract, typed in by hand, so that nothing generated vouches for itself.

A message has one `number name type` a line; types without a dot are scalars, or of the same package.
"""

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
    "ChunkRun": """
        1 chunk_id string
        2 pipeline_run_id string
        3 component_id string
        4 chunk_start int64
        5 chunk_end int64
        6 attempt int32
        7 status ChunkStatus
        8 failure_class FailureClass
        9 phase string
        10 error string
        11 recommended_action string
        12 started_at google.protobuf.Timestamp
        13 completed_at google.protobuf.Timestamp
        14 verified_at google.protobuf.Timestamp
        15 row_counts map<string,int64>
        16 verification map<string,string>
        17 metadata map<string,string>
    """,
    "UpsertChunkRunRequest": """
        1 chunk ChunkRun
    """,
    "GetChunkRunRequest": """
        1 chunk_id string
    """,
    "ListChunkRunsRequest": """
        1 pipeline_run_id string
        2 component_id string
        3 status ChunkStatus
        4 limit int32
    """,
    "ListChunkRunsResponse": """
        1 chunks repeated ChunkRun
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
    "ChunkStatus": {
        "CHUNK_STATUS_UNKNOWN": 0,
        "CHUNK_STATUS_PLANNED": 1,
        "CHUNK_STATUS_DISPATCHED": 2,
        "CHUNK_STATUS_RUNNING": 3,
        "CHUNK_STATUS_COMPLETED": 4,
        "CHUNK_STATUS_VERIFIED": 5,
        "CHUNK_STATUS_FAILED": 6,
        "CHUNK_STATUS_RETRY_PENDING": 7,
        "CHUNK_STATUS_ABORTED": 8,
    },
    "FailureClass": {
        "FAILURE_CLASS_UNKNOWN": 0,
        "FAILURE_CLASS_RETRYABLE_INFRASTRUCTURE": 1,
        "FAILURE_CLASS_NON_RETRYABLE_DATA": 2,
        "FAILURE_CLASS_NON_RETRYABLE_SCHEMA": 3,
        "FAILURE_CLASS_VERIFICATION": 4,
        "FAILURE_CLASS_ALLOCATION_LOST": 5,
        "FAILURE_CLASS_OOM": 6,
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
        "UpsertChunkRun": "UpsertChunkRunRequest → ChunkRun",
        "GetChunkRun": "GetChunkRunRequest → ChunkRun",
        "ListChunkRuns": "ListChunkRunsRequest → ListChunkRunsResponse",
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
