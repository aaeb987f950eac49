"""Benchmarks that anyone can run: `python -m bench.loop`, `.overhead`, `.peers`, `.gpu`; results in RESULTS.md."""
