"""Learning-rate schedules: pure functions of the step."""


def linear(step: int, total: int, warmup: float = 0.1) -> float:
    """Factor on the learning rate: up from 0 over the first `warmup` share of `total` steps, then down to 0."""
    rise = max(1, round(total * warmup))
    if step < rise:
        return (step + 1) / rise
    return max(0.0, (total - step) / max(1, total - rise))


def constant(step: int, total: int, warmup: float = 0.0) -> float:
    """Factor 1 at every step."""
    return 1.0
