"""Every table of the house, gathered for Alembic."""

import importlib

from services.kit.database import Base

for _room in ("kit", "registry", "feedback", "escalation"):
    importlib.import_module(f"services.{_room}.models")

metadata = Base.metadata
