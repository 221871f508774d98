"""Address ⇄ call. The only room that talks to grpc; everything above sees bytes, messages and our own errors."""
