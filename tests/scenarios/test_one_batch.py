"""The guided tour: one batch of two ledgers, through every floor, with a numbered step for each.

Read it from top to bottom beside docs/architecture.md. Every step uses the real thing, and the same two
rows are followed all the way: XDR bytes, a record batch, a frame, a message on a real port, token
transfers, a Parquet file, an acknowledgement.
"""

from __future__ import annotations

import pyarrow.dataset as ds
import pytest

from flowctl_aio import (
    EmbeddedControlPlane,
    FlowctlConfig,
    FlowctlSession,
    Health,
    LedgerBatch,
    RawLedger,
    ServiceInfo,
    ServiceType,
    State,
)
from flowctl_aio import _wire as wire
from flowctl_aio.codec import arrow
from flowctl_aio.codec.envelope import End, Envelope, Frame, decode, encode_end, encode_frame
from flowctl_aio.components.arrow_analytics_sink import ArrowAnalyticsSink
from flowctl_aio.components.stellar.synthetic import SyntheticLedgers
from flowctl_aio.components.stellar.transfers import token_transfers
from flowctl_aio.components.stellar_arrow_source import StellarArrowSource, SyntheticSupply
from flowctl_aio.components.ttp_arrow_processor import TtpArrowProcessor

pytestmark = pytest.mark.anyio

LIMIT = 1024 * 1024


async def test_one_batch_of_two_rows_goes_through_every_floor(tmp_path):
    # 1. Ledgers begin as XDR bytes. These two are synthetic: valid, seeded, and always the same.
    made = SyntheticLedgers("testnet", seed=7, transactions_per_ledger=3)
    first, second = made.ledger(100), made.ledger(101)
    assert second.previous_hash == first.hash

    # 2. Bytes become rows, and rows a batch: a typed view over one Arrow record batch.
    rows = [RawLedger(ledger.sequence, ledger.xdr, network=made.passphrase) for ledger in (first, second)]
    batch = LedgerBatch.from_ledgers(rows)
    assert (len(batch), str(batch.first_cursor), str(batch.last_cursor)) == (2, "100:0", "101:0")
    assert list(batch) == rows

    # 3. The codec writes the batch as one self-contained Arrow stream ...
    payload = arrow.write_frame(batch.record_batch)
    assert arrow.read_frame(payload, expected_checksum=arrow.checksum(payload), expected_rows=2, limit=LIMIT).equals(
        batch.record_batch
    )

    # 4. ... and puts it into an ordinary message, the classic RawLedger, that anybody can parse.
    message = encode_frame(Envelope.LEDGER, batch, number=0, limit=LIMIT)
    ordinary = wire.RawLedger.FromString(message)
    assert ordinary.xdr_data == payload.to_pybytes()
    assert ordinary.metadata["content-type"] == "application/vnd.apache.arrow.stream"
    assert ordinary.metadata["arrow-rows"] == "2"

    # 5. The other side takes it out again, checks it, and has the same rows. A stream ends with a marker.
    received = decode(Envelope.LEDGER, message, limit=LIMIT)
    assert isinstance(received, Frame)
    assert list(received.batch) == rows
    assert decode(Envelope.LEDGER, encode_end(Envelope.LEDGER, End(1, 2)), limit=LIMIT) == End(1, 2)

    # 6. A control plane: both dialects on one real port.
    async with EmbeddedControlPlane() as plane:
        # One process plays all the parts; its peers shall meet over gRPC all the same.
        config = FlowctlConfig(endpoint=plane.endpoint, heartbeat_interval=0.2, local_streams=False)

        # 7. Three components, each served by a session of its own, which binds, registers and beats.
        source = StellarArrowSource(SyntheticSupply(made), batch_ledgers=2)
        processor = TtpArrowProcessor("testnet", mode="unified")
        sink = ArrowAnalyticsSink(tmp_path)
        async with (
            FlowctlSession(source, config) as source_session,
            FlowctlSession(processor, config) as processor_session,
            FlowctlSession(sink, config) as sink_session,
        ):
            sessions = (source_session, processor_session, sink_session)
            assert {session.state for session in sessions} == {State.REGISTERED}
            for session in sessions:
                status = await plane.wait_for_service(session.service_id, Health.HEALTHY)
                assert status.info.endpoint == session.endpoint

            # 8. A fourth session drives. It finds the others by asking the plane, and meets each: what can you do?
            driver = ServiceInfo("driver", ServiceType.PIPELINE)
            async with (
                FlowctlSession(driver, config) as session,
                session.source() as ledgers_of,
                session.processor() as transfers_of,
                session.sink() as into,
            ):
                assert ledgers_of.peer.speaks_arrow
                assert ledgers_of.peer.marks_ends

                # 9. The source's ledgers arrive as the batch of step 2, with the close times that the source knows.
                async with ledgers_of.stream(100, 101) as ledgers, transfers_of.stream(ledgers) as transfers:
                    # 10. The processor answers with one batch of token transfers, which covers the same two ledgers.
                    (events,) = [batch async for batch in transfers]
                assert (str(events.first_cursor), str(events.last_cursor)) == ("100:0", "101:0")
                assert events.schema_name == "token_transfer@1"

                # 11. The sink takes it, and has nothing to show yet: an epoch is durable as a whole, or not at all.
                await into.send(events)
                assert not list(tmp_path.rglob("*.parquet"))

                # 12. Flushing ends the epoch with its marker; the sink commits, and acknowledges with true counts.
                ack = await into.flush()
                assert ack is not None
                assert (ack.batches, ack.rows, ack.failed) == (1, len(events), 0)

        # 13. Leaving the sessions took every service back from the plane.
        assert plane.services() == []

    # 14. The rows are on disk, in the folder of the day on which their ledgers closed.
    (file,) = tmp_path.rglob("*.parquet")
    assert file.parent.name == "date=2023-11-14"
    table = ds.dataset(tmp_path, partitioning="hive").to_table()
    expected = [
        row
        for ledger in (first, second)
        for row in token_transfers(ledger.xdr, passphrase=made.passphrase, mode="unified").rows
    ]
    assert table.num_rows == len(expected) == ack.rows
    assert table["amount"].to_pylist() == [str(row[-1]) for row in expected]
