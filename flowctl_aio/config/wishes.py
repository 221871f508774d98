"""Keys of the first implementation that nothing has ever read: known by name, offered by nobody."""

from __future__ import annotations

_TLS = "use flowctl.tls_ca, tls_cert, tls_key and serve_tls_cert, serve_tls_key"
_TOKENS = "use flowctl.accept_tokens_file"
_NOBODY = "nothing of the kind is checked here"

# Block → its keys. A file may name them in their block or, where they say enough, alone.
WISHES: dict[str, tuple[str, ...]] = {
    "resilience": (
        "circuit_breaker_enabled", "circuit_breaker_threshold", "circuit_breaker_timeout", "circuit_breaker_reset_time",
        "retry_enabled", "retry_max_attempts", "retry_initial_delay", "retry_max_delay", "retry_multiplier",
        "retry_jitter", "default_timeout", "ledger_timeout", "connection_timeout", "health_check_enabled",
        "health_check_interval", "health_check_timeout", "bulkhead_enabled", "max_concurrent_rpc",
        "max_concurrent_data", "rate_limit_enabled", "rate_limit_rps", "rate_limit_burst",
    ),
    "security": (
        "tls_enabled", "cert_file", "key_file", "ca_file", "server_name", "auth_enabled", "auth_type",
        "api_key_header", "api_keys_file", "jwt_secret", "jwt_issuer", "authz_enabled", "authz_provider",
        "roles_file", "cors_enabled", "cors_origins", "cors_methods", "cors_headers", "rate_limit_enabled",
        "rate_limit_rps", "rate_limit_burst",
    ),
    "compute": (
        "cache_enabled", "cache_max_size", "cache_ttl", "parallelism_level", "batch_size", "use_simd",
        "memory_limit_mb", "spill_to_disk", "spill_directory",
    ),
    "websocket": (
        "port", "host", "path", "max_connections", "max_connections_per_ip", "connection_timeout", "idle_timeout",
        "max_message_size", "write_timeout", "read_timeout", "ping_interval", "pong_timeout", "write_buffer_size",
        "read_buffer_size", "broadcast_buffer_size", "enable_compression", "compression_level",
        "compression_threshold", "require_auth", "auth_timeout", "rate_limit_enabled", "messages_per_second",
        "burst_size", "tls_enabled", "tls_cert_file", "tls_key_file",
    ),
    "lifecycle": (
        "enabled", "check_interval", "concurrent_workers", "data_paths", "archive_path", "temp_path",
        "default_retention_days", "default_archival_days", "cleanup_empty_dirs", "min_free_space_percent",
        "max_storage_gb", "enable_compression", "compression_type", "compression_level", "notify_on_cleanup",
        "notify_on_archive", "notify_on_error",
    ),
}  # fmt: skip
_ALONE = ("resilience", "security")

# Whoever switches one of these on counts on being protected: to go on without would be worse than to stop.
PROTECTION: dict[str, str] = {
    "tls_enabled": _TLS,
    "auth_enabled": _TOKENS,
    "require_auth": _TOKENS,
    "authz_enabled": _NOBODY,
    "rate_limit_enabled": _NOBODY,
}

WISHED: dict[str, str] = {
    name.upper(): key
    for block, keys in WISHES.items()
    for key in keys
    for name in ((f"{block}_{key}", key) if block in _ALONE else (f"{block}_{key}",))
}
