"""Learning-rate schedules: pure functions of the step."""


def linear(step: int, total: int, warmup: float = 0.1) -> float:
    """Factor on the learning rate: up from 0 over the first `warmup` share of `total` steps, then down to 0."""
    rise = max(1, round(total * warmup))
    if step < rise:
        return (step + 1) / rise
    return max(0.0, (total - step) / max(1, total - rise))


def geometric(step: int, total: int, start: float, end: float) -> float:
    """From `start` at step 0 to `end` at step `total`, by the same factor every step; both above 0."""
    return start * (end / start) ** (step / total)


def decay(step: int, total: int, end: float = 0.8) -> float:
    """Factor from 1 at step 0 straight down to 0 at the share `end` of `total` steps, 0 from there on."""
    return max(0.0, 1.0 - step / (total * end))
