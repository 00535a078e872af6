"""Venues: one suite that any of them passes, and the other sides it is run against."""
