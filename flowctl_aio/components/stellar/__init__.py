"""Stellar: ledgers in, token transfers out. Import what you need from the modules below; nothing is loaded here."""
