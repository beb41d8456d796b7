#!/bin/sh
# Makes the buckets, and a user who may read and write them and nothing else. What is there already stays as it is.
set -eu

access_key=$(cat /run/secrets/s3_access_key)
MC_HOST_store=$(printf 'http://%s:%s@%s' "$(cat /run/secrets/minio_root_user)" "$(cat /run/secrets/minio_root_password)" "$STORE")
export MC_HOST_store

for bucket in $BUCKETS; do
    mc mb --quiet --ignore-existing "store/$bucket"
done

{
    printf '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": ["s3:*"], "Resource": ['
    separator=
    for bucket in $BUCKETS; do
        printf '%s"arn:aws:s3:::%s", "arn:aws:s3:::%s/*"' "$separator" "$bucket" "$bucket"
        separator=', '
    done
    printf ']}]}\n'
} >/tmp/policy.json
mc admin policy create store lakehouse /tmp/policy.json

# on stdin: an argument would be seen by everybody who lists processes. A user who is there gets the secret anew.
{ printf '%s\n' "$access_key"; cat /run/secrets/s3_secret_key; echo; } | mc admin user add store >/dev/null
mc admin policy attach store lakehouse --user "$access_key" 2>/tmp/attach || grep -q 'already in effect' /tmp/attach || { cat /tmp/attach >&2; exit 1; }

# the services' own key has to work, not only the administrator's
mc ls store >/dev/null
MC_HOST_own=$(printf 'http://%s:%s@%s' "$access_key" "$(cat /run/secrets/s3_secret_key)" "$STORE")
export MC_HOST_own
for bucket in $BUCKETS; do
    mc ls "own/$bucket" >/dev/null
done
echo "buckets: $BUCKETS; $access_key may use them"
