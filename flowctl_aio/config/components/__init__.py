"""The settings of the three reference components, under the keys of the first implementation."""

from __future__ import annotations

from typing import TypeAlias

from flowctl_aio.config.components.processor import TtpArrowProcessorSettings as TtpArrowProcessorSettings
from flowctl_aio.config.components.sink import ArrowAnalyticsSinkSettings as ArrowAnalyticsSinkSettings
from flowctl_aio.config.components.source import StellarArrowSourceSettings as StellarArrowSourceSettings

ComponentSettings: TypeAlias = StellarArrowSourceSettings | TtpArrowProcessorSettings | ArrowAnalyticsSinkSettings

COMPONENTS: dict[str, type[ComponentSettings]] = {
    "STELLAR_ARROW_SOURCE": StellarArrowSourceSettings,
    "TTP_ARROW_PROCESSOR": TtpArrowProcessorSettings,
    "ARROW_ANALYTICS_SINK": ArrowAnalyticsSinkSettings,
}
