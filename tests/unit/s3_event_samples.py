"""Notifications of uploads as each of those who send them does; the SeaweedFS ones were posted by version 4.48."""

from base64 import b64encode
from typing import Any

AWS_TEST = {
    "Service": "Amazon S3",
    "Event": "s3:TestEvent",
    "Time": "2026-05-01T12:00:00.000Z",
    "Bucket": "photos",
    "RequestId": "5582815E1AEA5ADF",
    "HostId": "8cLeGAmw098X5cv4Zkwcmo8vvZa3eH3eKxsPzbB9wrR+YstdA6Knx4Ip8EXAMPLE",
}


def aws(key: str = "in/my+photo+%281%29.jpg", *, name: str = "ObjectCreated:Put", **thing: Any) -> dict[str, Any]:
    told = {"size": 1024, "eTag": "d41d8cd98f00b204e9800998ecf8427e", "sequencer": "0055AED6DCD90281E5"}
    return {
        "Records": [
            {
                "eventVersion": "2.1",
                "eventSource": "aws:s3",
                "awsRegion": "eu-west-1",
                "eventTime": "2026-05-01T12:00:00.123Z",
                "eventName": name,
                "userIdentity": {"principalId": "AWS:AIDAJDPLRKLG7UEXAMPLE"},
                "requestParameters": {"sourceIPAddress": "192.0.2.7"},
                "responseElements": {"x-amz-request-id": "C3D13FE58DE4C810", "x-amz-id-2": "FMyUVURIY8/IgAtTv8xRj"},
                "s3": {
                    "s3SchemaVersion": "1.0",
                    "configurationId": "uploads",
                    "bucket": {
                        "name": "photos",
                        "ownerIdentity": {"principalId": "A3NL1KOZZKExample"},
                        "arn": "arn:aws:s3:::photos",
                    },
                    "object": {"key": key, **told, **thing},
                },
            }
        ]
    }


def event_bridge(key: str = "in/my photo (1).jpg", *, kind: str = "Object Created") -> dict[str, Any]:
    return {
        "version": "0",
        "id": "17793124-05d4-b198-2fde-7ededc63b103",
        "detail-type": kind,
        "source": "aws.s3",
        "account": "111122223333",
        "time": "2026-05-01T12:00:00Z",
        "region": "ca-central-1",
        "resources": ["arn:aws:s3:::photos"],
        "detail": {
            "version": "0",
            "bucket": {"name": "photos"},
            "object": {
                "key": key,
                "size": 5,
                "etag": "b1946ac92492d2347c6235b4d2611184",
                "version-id": "IYV3p45BT0ac8hjHg1houSdS1a.Mro8e",
                "sequencer": "617f08299329d189",
            },
            "request-id": "N4N7GDK58NMKJ12R",
            "requester": "123456789012",
            "source-ip-address": "192.0.2.7",
            "reason": "PutObject",
        },
    }


def minio(
    key: str = "in%2Fmy+photo+%281%29.jpg", *, name: str = "s3:ObjectCreated:Put", **thing: Any
) -> dict[str, Any]:
    return {
        "EventName": name,
        "Key": "photos/in/my photo (1).jpg",
        "Records": [
            {
                "eventVersion": "2.0",
                "eventSource": "minio:s3",
                "awsRegion": "",
                "eventTime": "2026-05-01T12:00:00.123Z",
                "eventName": name,
                "userIdentity": {"principalId": "minio"},
                "requestParameters": {"principalId": "minio", "region": "", "sourceIPAddress": "10.0.0.7"},
                "responseElements": {"x-amz-request-id": "17AB5A3C1B7D4F2E", "x-minio-origin-endpoint": "http://minio"},
                "s3": {
                    "s3SchemaVersion": "1.0",
                    "configurationId": "Config",
                    "bucket": {
                        "name": "photos",
                        "ownerIdentity": {"principalId": "minio"},
                        "arn": "arn:aws:s3:::photos",
                    },
                    "object": {
                        "key": key,
                        "size": 224662,
                        "eTag": "5fc7298143efe1276d39a3466d4e255f-1",
                        "contentType": "image/jpeg",
                        "userMetadata": {"content-type": "image/jpeg"},
                        "sequencer": "17AB5A3C1B2A9E40",
                        **thing,
                    },
                },
                "source": {
                    "host": "10.0.0.7",
                    "port": "",
                    "userAgent": "MinIO (linux; amd64) minio-go/v7.0.66 mc/RELEASE",
                },
            }
        ],
    }


def ceph(key: str = "in/my photo (1).jpg", *, name: str = "ObjectCreated:Put", **thing: Any) -> dict[str, Any]:
    """The sample of doc/radosgw/notifications.rst, whose size is a text; RGW itself writes a number."""
    told = {
        "size": "1024",
        "eTag": "37b51d194a7513e45b56f6524f2d51f2",
        "versionId": "",
        "sequencer": "F7E6D75DC742D108",
    }
    return {
        "Records": [
            {
                "eventVersion": "2.2",
                "eventSource": "ceph:s3",
                "awsRegion": "zonegroup1",
                "eventTime": "2019-11-22T13:47:35.124724Z",
                "eventName": name,
                "userIdentity": {"principalId": "tester"},
                "requestParameters": {"sourceIPAddress": ""},
                "responseElements": {"x-amz-request-id": "503a4c37.5330.903595", "x-amz-id-2": "14d2-zone1-zonegroup1"},
                "s3": {
                    "s3SchemaVersion": "1.0",
                    "configurationId": "mynotif1",
                    "bucket": {
                        "name": "photos",
                        "ownerIdentity": {"principalId": "tester"},
                        "arn": "arn:aws:s3:zonegroup1::photos",
                        "id": "503a4c37-85eb-47cd-8681-2817e80b4281.5332.38",
                    },
                    "object": {"key": key, **told, "metadata": [], "tags": [], **thing},
                },
                "eventId": "1574430455.147931847.37b51d194a7513e45b56f6524f2d51f2",
                "opaqueData": "me@example.com",
            }
        ]
    }


def seaweed_entry(name: str = "my photo (1)+ü%25😀.jpg", **extended: str) -> dict[str, Any]:
    told = {"ETag": "4e8403e9463e59ea5939a33d1245a66c", "Owner": "admin", **extended}
    return {
        "name": name,
        "chunks": [
            {
                "size": 500,
                "modified_ts_ns": 1795411590085032782,
                "e_tag": "ToQD6UY+WepZOaM9EkWmbA==",
                "fid": {"volume_id": 1, "file_key": 2, "cookie": 1701167288},
            }
        ],
        "attributes": {
            "file_size": 500,
            "mtime": 1795411590,
            "file_mode": 432,
            "crtime": 1795411590,
            "mime": "image/jpeg",
            "md5": "ToQD6UY+WepZOaM9EkWmbA==",
            "inode": 2591419802340539565,
            "ctime": 1795411590,
            "atime": 1795411590,
        },
        "extended": {
            f"Seaweed-X-Amz-{key.replace('_', '-')}": b64encode(value.encode()).decode() for key, value in told.items()
        },
    }


def seaweed(
    new: dict[str, Any] | None,
    old: dict[str, Any] | None = None,
    *,
    parent: str = "/buckets/photos/in",
    key: str | None = None,
) -> dict[str, Any]:
    """`key`: where it was before, if not there."""
    kind = "delete" if new is None else "create" if old is None else "rename" if key else "update"
    message: dict[str, Any] = {"delete_chunks": True, "signatures": [-2074946182]}
    message |= {"old_entry": old} if old else {}
    message |= {"new_entry": new, "new_parent_path": parent} if new else {}
    return {"event_type": kind, "key": key or f"{parent}/{(new or old or {})['name']}", "message": message}


SEAWEED_FOLDER = {
    "event_type": "create",
    "key": "/buckets/photos/in",
    "message": {
        "new_entry": {
            "name": "in",
            "is_directory": True,
            "attributes": {"mtime": 1795411590, "file_mode": 2147484153, "ctime": -62135596800, "mtime_ns": 85276493},
        },
        "new_parent_path": "/buckets/photos",
        "signatures": [-2074946182],
    },
}
