"""How the gradients of an objective's terms become one gradient, one file per rule.

To add one: subclass `exitnas.objectives.gradient.base.GradientRule` in a file of this folder and add its row here.
"""

from exitnas.registry import Registry

GRADIENT_RULES = Registry(
    "gradient rule",
    {
        "sum": "exitnas.objectives.gradient.base:GradientRule",
        "ga_soft": ("exitnas.objectives.gradient.alignment:GradientAlignment", {"hard": False}),
        "ga_hard": ("exitnas.objectives.gradient.alignment:GradientAlignment", {"hard": True}),
        "equilibrium": "exitnas.objectives.gradient.equilibrium:Equilibrium",
    },
)
