"""`python -m api.openapi_file`: the OpenAPI document on stdout, as `docs/openapi.json` keeps it."""

import json
import sys

from pydantic import SecretStr

from api.app import new_app
from api.openapi_document import document
from settings import Settings


def text() -> str:
    """Without a service: nothing connects before the application starts."""
    settings = Settings.model_construct(database_url=SecretStr("postgresql+psycopg://nowhere/none"))
    return json.dumps(document(new_app(settings)), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(text())
