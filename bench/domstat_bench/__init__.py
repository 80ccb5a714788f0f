"""What is fast, measured: CPU time and memory of whole processes, compared within one run."""
