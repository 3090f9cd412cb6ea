"""The rows of the fault matrix, a module for each part of the installation that is hurt."""

import importlib
import pkgutil


def load_rows() -> None:
    """Import every module here, which puts its rows into `chaos.campaign.ROWS`."""
    for module in sorted(pkgutil.iter_modules(__path__), key=lambda module: module.name):
        importlib.import_module(f"{__name__}.{module.name}")
