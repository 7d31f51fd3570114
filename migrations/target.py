"""Every table, gathered for Alembic."""

import importlib

from services.kit.database import Base

for _package in ("kit", "people", "tools", "feedback", "escalation", "notifications"):
    importlib.import_module(f"services.{_package}.models")

metadata = Base.metadata
