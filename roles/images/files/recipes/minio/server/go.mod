module quaylock.local/minio

go 1.25.0

tool github.com/minio/minio

// the last state that was published: it has no tag, and is newer than the last image
require github.com/minio/minio v0.0.0-20260212201848-7aac2a2c5b7c
