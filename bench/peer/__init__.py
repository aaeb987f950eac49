"""The digits study as one would write it for other tools; run by `python -m bench.peers`."""
