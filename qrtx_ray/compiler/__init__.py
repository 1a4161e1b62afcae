"""Compiling: what a tenant sent becomes programs for one device, inside a sandbox child; knows nothing of Ray."""
