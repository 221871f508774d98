"""Generated from protos/flowctl_aio/classic."""
