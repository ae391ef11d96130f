"""What checkpoint costs, each figure beside a plain tool timed in the same run: `python -m benchmarks`."""
