"""Quantum multiprogramming: which jobs share a run, how they become one, and how the results come apart again. Pure."""
