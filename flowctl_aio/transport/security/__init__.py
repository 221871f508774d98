"""The values of `flowctl_aio.security` made into what gRPC takes, and made again when their files change."""
