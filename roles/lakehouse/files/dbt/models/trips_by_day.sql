select
    cast(tpep_pickup_datetime as date) as day,
    vendor_id,
    count(*) as trips,
    sum(trip_distance) as distance,
    sum(total_amount) as total
from {{ source('bronze', 'taxi_trips') }}
group by 1, 2
