"""What is sealed: segments, made of a directory and chunks of columns. It knows how they are laid out, not when."""
