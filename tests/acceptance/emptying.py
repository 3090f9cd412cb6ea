"""A fleet as if nothing had ever been done in it, while its processes go on."""

from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from clients.s3_client import new_s3_client
from models.engine import new_engine
from tests.databases import EMPTY

_LEFT = """
    SELECT EXISTS (SELECT FROM jobs WHERE finished_at IS NULL) OR EXISTS (SELECT FROM batches WHERE finished_at IS NULL)
        OR EXISTS (SELECT FROM deliveries WHERE due_at IS NOT NULL)
        OR EXISTS (SELECT FROM schedules) OR EXISTS (SELECT FROM triggers)
"""


def empty_database(url: str) -> bool:
    """Whether that could be done; not while something is left to do in it."""
    engine = new_engine(url, connections=1, answer_s=10.0)
    try:
        with engine.begin() as connection:
            if connection.scalar(text(_LEFT)):
                return False
            connection.execute(text(EMPTY))
    except OperationalError:  # a process of the fleet wanted the same locks in another order
        return False
    finally:
        engine.dispose()
    return True


def empty_bucket(endpoint_url: str, bucket: str) -> None:
    s3 = new_s3_client(endpoint_url, addressing="auto", max_connections=4, region=None)
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        for found in page.get("Contents", []):
            s3.delete_object(Bucket=bucket, Key=found["Key"])
    s3.close()
