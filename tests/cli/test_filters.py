"""Claims about the filters of the command line: options win over settings, and amounts stay whole numbers."""

from __future__ import annotations

import json
import signal

import anyio
import pytest
from anyio import to_thread

from flowctl_aio import Health
from flowctl_aio.cli.app import run
from flowctl_aio.cli.filter_options import FilterOptions
from flowctl_aio.components.stellar.strkey import encode_strkey
from flowctl_aio.components.stellar.synthetic import SyntheticLedgers
from flowctl_aio.components.stellar.transfers import TransferFilter, golden_line, token_transfers
from flowctl_aio.config.components import TtpArrowProcessorSettings

ISSUER = encode_strkey("G", bytes(32))
RANGE = ("--from=5", "--to=8", "--transactions=30")


def expected(wanted: TransferFilter) -> list[str]:
    made = SyntheticLedgers("testnet", transactions_per_ledger=30)
    return [
        golden_line(row)
        for sequence in range(5, 9)
        for row in wanted.pick(
            token_transfers(made.ledger(sequence).xdr, passphrase=made.passphrase, mode="derived").rows
        )
    ]


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (["--kind=mint", "--kind=burn"], TransferFilter(kinds=["mint", "burn"])),
        (["--asset=native", "--min-amount=10000000"], TransferFilter(assets=["native"], min_amount=10_000_000)),
        (["--kind=fee", "--max-amount=250"], TransferFilter(kinds=["fee"], max_amount=250)),
        (["--max-amount=-1"], TransferFilter(max_amount=-1)),
    ],
)
def test_transfers_prints_what_the_filter_wants(options, wanted, capsys):
    assert run(["transfers", *RANGE, *options]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == expected(wanted)
    assert len(lines) < len(expected(TransferFilter()))


def test_an_account_of_the_output_finds_its_own_lines(capsys):
    account = json.loads(expected(TransferFilter(kinds=["transfer"]))[0])["to"]
    assert run(["transfers", *RANGE, f"--account={account}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines
    assert lines == expected(TransferFilter(accounts=[account]))


def test_settings_fill_what_the_options_leave_open():
    settings = TtpArrowProcessorSettings(
        event_types=("transfer",),
        asset_filters=("native", f"USDC:{ISSUER}"),
        amount_filters_min_amount="0.0000001",
        amount_filters_max_amount="922337203685.4775807",
    )
    assert FilterOptions().filter(settings) == TransferFilter(
        kinds=("transfer",), assets=("native", f"USDC:{ISSUER}"), min_amount=1, max_amount=2**63 - 1
    )
    options = FilterOptions(kind=("fee",), min_amount="0", max_amount=str(2**127 - 1))
    assert options.filter(settings) == TransferFilter(
        kinds=("fee",), assets=("native", f"USDC:{ISSUER}"), min_amount=0, max_amount=2**127 - 1
    )


@pytest.mark.parametrize("units", ["9007199254740993.0000001", "9999999999999999999.9999999", "0.1"])
def test_amounts_of_the_settings_become_stroops_to_the_last_digit(units):
    whole, _, part = units.partition(".")
    settings = TtpArrowProcessorSettings(amount_filters_min_amount=units)
    assert FilterOptions().filter(settings).min_amount == int(whole + part.ljust(7, "0"))


@pytest.mark.anyio
@pytest.mark.parametrize(("option", "kinds"), [((), "mint,burn"), (("--kind=fee",), "fee")])
async def test_a_processor_says_what_it_gives_by_its_settings_or_its_options(shell, plane, tmp_path, option, kinds):
    process = shell.start(
        "processor", "--network=testnet", f"--plane={plane.endpoint}", *option,
        "--on-bad-ledger=quarantine", f"--quarantine={tmp_path}", TTP_ARROW_PROCESSOR_EVENT_TYPES="mint,burn",
    )  # fmt: skip
    with anyio.fail_after(30):
        status = await plane.wait_for_service("ttp-arrow-processor", Health.HEALTHY)
        assert status.info.metadata["event_types"] == kinds
        process.send_signal(signal.SIGTERM)
        _, complaints = await to_thread.run_sync(process.communicate)
    assert (process.returncode, complaints) == (0, "")
