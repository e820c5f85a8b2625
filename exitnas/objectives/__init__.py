"""Training objectives of multi-exit models, one file each.

To add one: subclass `exitnas.objectives.base.Objective` in a file of this folder and add its row here; the contract
tests pick the row up.
"""

from exitnas.registry import Registry

OBJECTIVES = Registry(
    "objective",
    {
        "joint": "exitnas.objectives.joint:Joint",
    },
)
