"""What is kept at the plane of work: runs of pipelines, and attempts at ranges of ledgers."""
