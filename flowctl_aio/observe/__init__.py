"""Numbers and facts ⇄ what people and machines look at: metrics text, health pages, log lines, traces."""
