module quaylock.local/mc

go 1.25.0

tool github.com/minio/mc

require github.com/minio/mc v0.0.0-20250313080218-cf909e1063a9
