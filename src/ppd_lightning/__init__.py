"""One text-to-image model, many people's tastes: PPD on Lightning and Hydra.

Reading order: cli.py -> commands/train.py -> training/module.py -> training/objectives/ppd.py.
"""
