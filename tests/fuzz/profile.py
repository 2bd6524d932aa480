"""How long the fuzzers run: bounded and always the same, unless a long run is asked for."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, settings

#: Whether this is a long run, with examples by chance.
LONG = os.environ.get("FUZZ") == "long"


def bounded(examples: int, *, steps: int = 50) -> settings:
    """Return the settings of a test that takes this many *examples*, in a long run far more.

    A run that is not long always takes the same examples, and so has no luck, good or bad.
    """
    return settings(
        max_examples=examples * 100 if LONG else examples,
        derandomize=not LONG,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
        stateful_step_count=steps,
    )
