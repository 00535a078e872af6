"""The vocabulary: rows, instruments, errors. No I/O, no clock, no pandas."""
