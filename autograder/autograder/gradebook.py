"""A new gradebook: nbgrader's tables, marked with the version of their layout."""

from __future__ import annotations

from alembic.config import Config
from alembic.script import ScriptDirectory
from nbgrader.api import Base
from nbgrader.dbutil import ALEMBIC_DIR
from sqlalchemy import create_engine, inspect, text


def create_gradebook(url: str) -> None:
    """Make the tables in an empty database; one that has tables is left as it is.

    nbgrader would do the same on first use, through a program that must be on the PATH.
    """
    engine = create_engine(url)
    try:
        if inspect(engine).get_table_names():
            return
        config = Config()
        config.set_main_option("script_location", ALEMBIC_DIR.replace("%", "%%"))
        head = ScriptDirectory.from_config(config).get_current_head()
        with engine.begin() as connection:
            Base.metadata.create_all(bind=connection)
            connection.execute(
                text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
            )
            insert = text("INSERT INTO alembic_version (version_num) VALUES (:head)")
            connection.execute(insert, {"head": head})
    finally:
        engine.dispose()
