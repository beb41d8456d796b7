select
    cast(hour(pickup_at) as integer) as hour,
    count(*) as trips,
    sum(total_amount) as revenue
from {{ source('silver', 'taxi_trips') }}
group by 1
