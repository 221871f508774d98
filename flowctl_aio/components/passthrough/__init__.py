"""passthrough: what comes in goes out, for runners that move nothing without a processor."""

from flowctl_aio.components.passthrough.processor import PassThrough as PassThrough
