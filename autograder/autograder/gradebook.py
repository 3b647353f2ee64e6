"""nbgrader's gradebook, in SQLite or a server: made with its tables, and named without its password."""

from __future__ import annotations

from nbgrader.api import Base
from nbgrader.dbutil import ALEMBIC_DIR
from sqlalchemy import create_engine, inspect, make_url, text
from sqlalchemy.exc import SQLAlchemyError

from .course import CourseError


def create_gradebook(url: str) -> None:
    """Make the tables in an empty database; one that has tables is left as it is.

    nbgrader would do the same on first use, through a program that must be on the PATH. Raises
    CourseError where the database cannot be reached.
    """
    try:
        engine = create_engine(url)
    except (SQLAlchemyError, ModuleNotFoundError) as error:
        raise unreachable(url, error) from error
    try:
        if inspect(engine).get_table_names():
            return
        head = _newest_version()
        with engine.begin() as connection:
            Base.metadata.create_all(bind=connection)
            connection.execute(
                text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
            )
            insert = text("INSERT INTO alembic_version (version_num) VALUES (:head)")
            connection.execute(insert, {"head": head})
    except SQLAlchemyError as error:
        raise unreachable(url, error) from error
    finally:
        engine.dispose()


def _newest_version() -> str | None:
    """The version of the tables that this nbgrader makes."""
    from alembic.config import Config  # imported here: grading opens gradebooks, and makes none
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", ALEMBIC_DIR.replace("%", "%%"))
    return ScriptDirectory.from_config(config).get_current_head()


def unreachable(url: str, error: Exception) -> CourseError:
    """What to say of a database that cannot be opened; without the password in its address."""
    why = str(getattr(error, "orig", None) or error).strip().splitlines()[0].rstrip(".")
    try:
        shown = make_url(url).render_as_string(hide_password=True)
    except SQLAlchemyError:
        shown = "whose address is not one of SQLAlchemy's"
    hint = ""
    if isinstance(error, ModuleNotFoundError):
        hint = " For PostgreSQL: pip install 'psycopg[binary]' and postgresql+psycopg://…"
    return CourseError(f"The gradebook {shown} cannot be opened ({why}).{hint}")
