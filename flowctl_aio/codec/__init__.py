"""Messages ⇄ record batches. Pure: no grpc, no clock, no I/O."""
