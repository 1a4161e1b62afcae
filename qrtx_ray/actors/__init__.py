"""The Ray shells around the pure core: scheduler, compiler, device, state manager, and the supervisor that keeps them."""
