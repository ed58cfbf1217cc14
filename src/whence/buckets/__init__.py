"""Objects of a bucket (`s3://`, `gs://`) as local files, and an artifact written into one."""

from whence.buckets.address import address_of, is_address
from whence.buckets.built import built_folder
from whence.buckets.copies import fetch, local_folder
from whence.buckets.uploads import check_address, reserve, upload

__all__ = [
    "address_of",
    "built_folder",
    "check_address",
    "fetch",
    "is_address",
    "local_folder",
    "reserve",
    "upload",
]
