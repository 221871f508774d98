"""Settings: frozen values with one definition each, and the only room that reads the environment."""

from flowctl_aio.config.components import ArrowAnalyticsSinkSettings as ArrowAnalyticsSinkSettings
from flowctl_aio.config.components import StellarArrowSourceSettings as StellarArrowSourceSettings
from flowctl_aio.config.components import TtpArrowProcessorSettings as TtpArrowProcessorSettings
from flowctl_aio.config.reading.resolve import Resolved as Resolved
from flowctl_aio.config.reading.resolve import resolve as resolve
from flowctl_aio.config.reading.resolve import resolve_component as resolve_component
from flowctl_aio.config.settings import DialectChoice as DialectChoice
from flowctl_aio.config.settings import FlowctlConfig as FlowctlConfig
