"""The runtime end to end, as its users see it: throughput, round trips, durability, answers under load, the official client.

``python -m benchmarks.end_to_end`` starts a runtime of its own in a temporary folder, with the configuration that ships, and
stops it at the end. Load and competitors run in processes of their own (`benchmarks.side`); HTTP load comes from plain
asyncio streams (`benchmarks.http_load`), because a full HTTP client would take a good part of two cores for itself.
"""
