select
    day,
    vendor_id,
    count(*) as trips,
    sum(trip_distance) as distance,
    sum(total_amount) as revenue,
    sum(tip_amount) as tips
from {{ source('silver', 'taxi_trips') }}
group by 1, 2
