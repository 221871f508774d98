"""How a verb is told which control plane to talk to, and how to ask it without being registered there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any

from cyclopts import Parameter

from flowctl_aio import FlowctlConfig
from flowctl_aio.config.reading.resolve import resolve
from flowctl_aio.control.discovery.directory import Directory
from flowctl_aio.control.plane import PlaneClient
from flowctl_aio.transport.channel import open_control_channel


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class PlaneOptions:
    """Options of every verb that talks to a plane. What is not given comes from the environment, a file, a profile."""

    plane: Annotated[str | None, Parameter(help="The control plane, host:port [localhost:8080].")] = None
    config: Annotated[str | None, Parameter(help="A YAML file of settings.")] = None
    profile: Annotated[str, Parameter(help="local, flowctl, development or production [none].", show_default=False)] = (
        ""
    )
    insecure: Annotated[bool | None, Parameter(help="Allow plaintext to and from other machines.")] = None
    tls_ca: Annotated[str | None, Parameter(help="PEM of whom to trust; encrypts the channels.")] = None
    tls_cert: Annotated[str | None, Parameter(help="PEM of a client certificate.")] = None
    tls_key: Annotated[str | None, Parameter(help="PEM of its key.")] = None
    tls_server_name: Annotated[str | None, Parameter(help="Name in the certificates of servers.")] = None
    token_file: Annotated[str | None, Parameter(help="File of the bearer token to show.")] = None

    def settings(self) -> dict[str, Any]:
        """The options as settings of a session; None for what is not given."""
        return {
            "endpoint": self.plane,
            "insecure": self.insecure,
            "tls_ca": self.tls_ca,
            "tls_cert": self.tls_cert,
            "tls_key": self.tls_key,
            "tls_server_name": self.tls_server_name,
            "token_file": self.token_file,
        }

    @asynccontextmanager
    async def open_directory(self) -> AsyncIterator[tuple[Directory, FlowctlConfig]]:
        """Questions to the plane, from somebody who is not registered there, and the settings they are asked with.

        Raises:
            ConfigError: if anything is wrong with the settings; all of it is named.
        """
        config = resolve(file=self.config, profile=self.profile, **self.settings()).config
        async with open_control_channel(
            config.endpoint, insecure=config.insecure, tls=config.client_tls, credentials=config.credentials
        ) as channel:
            plane = PlaneClient(channel, config)
            directory = Directory(
                plane.list_services,
                plane.get_service_status,
                timeout=config.query_timeout,
                max_age=0.0,
                lease=config.lease_timeout,
            )
            yield directory, config
