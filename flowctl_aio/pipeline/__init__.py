"""Source → processors → sink, driven from one place."""

from flowctl_aio.pipeline.checkpoint import FileCheckpoint as FileCheckpoint
from flowctl_aio.pipeline.checkpoint import SourceCheckpoint as SourceCheckpoint
from flowctl_aio.pipeline.runner import Pipeline as Pipeline
from flowctl_aio.pipeline.runner import Progress as Progress
