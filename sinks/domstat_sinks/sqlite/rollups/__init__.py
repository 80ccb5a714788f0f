"""What ticks come to: five minutes, hours, days and sketches; worked out, stored, and read."""
