"""Optuna studies over the hyper-parameters of search and retraining.

The goals a study can have are looked up by name here; everything else lives in its own file and is imported when used.
"""

from exitnas.registry import Registry

GOALS = Registry(
    "goal",
    {
        "avg": "exitnas.tuning.goals:AVG",
        "best": "exitnas.tuning.goals:BEST",
        "macs": "exitnas.tuning.goals:MACS",
        "parameters": "exitnas.tuning.goals:PARAMETERS",
        "latency": "exitnas.tuning.goals:LATENCY",
    },
)
