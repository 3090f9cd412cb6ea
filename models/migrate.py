"""The schema, brought to the newest version."""

from pathlib import Path

from alembic import command
from alembic.config import Config

import migrations


def alembic_config(url: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.attributes["url"] = url
    return config


def migrate(url: str) -> None:
    """Safe to run from several processes at once: an advisory lock lets one at a time through."""
    command.upgrade(alembic_config(url), "head")
