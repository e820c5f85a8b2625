"""Optuna studies over the hyper-parameters of search and retraining.

The goals a study can have are looked up by name here; everything else lives in its own file and is imported when used.
"""

from exitnas.registry import Registry

GOALS = Registry(
    "goal",
    {
        "avg": "exitnas.tuning.goals:Avg",
        "best": "exitnas.tuning.goals:Best",
        "macs": "exitnas.tuning.goals:Macs",
        "parameters": "exitnas.tuning.goals:Parameters",
        "latency": "exitnas.tuning.goals:Latency",
    },
)
