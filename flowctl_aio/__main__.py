"""`python -m flowctl_aio` is `flowctl-aio`."""

from flowctl_aio.cli import main

if __name__ == "__main__":
    main()
