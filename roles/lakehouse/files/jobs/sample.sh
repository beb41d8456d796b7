#!/bin/sh
# Asks for made-up trips of some days, through all layers. A container is another run each time.
set -eu
job() { server=$1 name=$2; shift 2; python /opt/jobs/job_client.py "http://$server:8090" "$name" "sample-$(hostname)" "$@"; }
job ingestor bronze day="$DAY" days="$DAYS" rows="$ROWS" seed="$SEED"
job ingestor silver day="$DAY" days="$DAYS"
job dbt gold
