"""Generated from protos/flowctl_aio/payloads."""
