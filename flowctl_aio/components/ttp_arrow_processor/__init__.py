"""ttp-arrow-processor: token transfers out of ledgers."""

from flowctl_aio.components.ttp_arrow_processor.processor import OnBadLedger as OnBadLedger
from flowctl_aio.components.ttp_arrow_processor.processor import TtpArrowProcessor as TtpArrowProcessor
