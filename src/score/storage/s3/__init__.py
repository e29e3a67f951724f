"""S3 services: Amazon S3, MinIO, Ceph and others that speak it."""
