"""The newest ticks: a row each, and what rows refer to."""
