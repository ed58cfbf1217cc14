"""Objects of a bucket (`s3://`, `gs://`) as local files."""

from whence.buckets.copies import fetch, is_address

__all__ = ["fetch", "is_address"]
