"""What is done between two ticks: sealing, merging, letting go, within a few milliseconds."""
