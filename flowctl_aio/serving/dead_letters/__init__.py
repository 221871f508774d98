"""Events that a component failed at → a file or a sink, durable before the stream goes on; and back again."""

from flowctl_aio.serving.dead_letters.files import read_dead_letters as read_dead_letters
from flowctl_aio.serving.dead_letters.letter import DeadLetter as DeadLetter
from flowctl_aio.serving.dead_letters.letter import letter_from_event as letter_from_event
from flowctl_aio.serving.dead_letters.post import post as post
