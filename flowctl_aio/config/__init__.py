"""Settings: frozen values with one definition each, and the only room that reads the environment."""

from flowctl_aio.config.settings import DialectChoice as DialectChoice
from flowctl_aio.config.settings import FlowctlConfig as FlowctlConfig
