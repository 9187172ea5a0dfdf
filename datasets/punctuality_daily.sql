-- Punctuality by day, carrier and airport of departure.
--
-- A day is the local date of the scheduled departure. Every flight of flights counts as scheduled, and is exactly one of
--   completed  it reached its destination                   (status arrived)
--   diverted   it left and did not reach it as planned      (status diverted)
--   cancelled  it never left                                (status cancelled)
--   pending    its outcome is not known yet                 (status scheduled or departed)
-- Operated flights are those that left: departed, arrived or diverted.
--
-- Late means 15 minutes or more after schedule (US Department of Transportation, 14 CFR 234.2), hence
--   d0, a0     left / arrived at or before schedule         (delay of 0 minutes or less)
--   d15, a15   left / arrived less than 15 minutes late     (delay of 14 minutes or less)
-- d0 and d15 count operated flights, a0 and a15 count completed ones.
--
-- Rates of scheduled divide by scheduled flights, so that cancelled and diverted ones count as late, as the Department's
-- on-time statistics have it (https://www.bts.gov/topics/airlines-and-airports/airline-on-time-statistics-and-delay-causes).
-- They are final once pending is 0. Rates of completed divide by the flights that did leave (d) or arrive (a).
--
-- Mean delays are in minutes: signed (early is negative), and with early counted as 0.
SELECT
    flight_date,
    carrier,
    origin,
    count(*) AS scheduled,
    count(*) FILTER (WHERE operated) AS operated,
    count(*) FILTER (WHERE completed) AS completed,
    count(*) FILTER (WHERE status = 'cancelled') AS cancelled,
    count(*) FILTER (WHERE status = 'diverted') AS diverted,
    count(*) FILTER (WHERE status IN ('scheduled', 'departed')) AS pending,
    count(*) FILTER (WHERE operated AND departure_delay <= 0) AS d0,
    count(*) FILTER (WHERE operated AND departure_delay < 15) AS d15,
    count(*) FILTER (WHERE completed AND arrival_delay <= 0) AS a0,
    count(*) FILTER (WHERE completed AND arrival_delay < 15) AS a15,
    (count(*) FILTER (WHERE operated AND departure_delay <= 0))::float8 / count(*) AS d0_rate_of_scheduled,
    (count(*) FILTER (WHERE operated AND departure_delay < 15))::float8 / count(*) AS d15_rate_of_scheduled,
    (count(*) FILTER (WHERE completed AND arrival_delay <= 0))::float8 / count(*) AS a0_rate_of_scheduled,
    (count(*) FILTER (WHERE completed AND arrival_delay < 15))::float8 / count(*) AS a15_rate_of_scheduled,
    avg((departure_delay <= 0)::int) FILTER (WHERE operated)::float8 AS d0_rate_of_completed,
    avg((departure_delay < 15)::int) FILTER (WHERE operated)::float8 AS d15_rate_of_completed,
    avg((arrival_delay <= 0)::int) FILTER (WHERE completed)::float8 AS a0_rate_of_completed,
    avg((arrival_delay < 15)::int) FILTER (WHERE completed)::float8 AS a15_rate_of_completed,
    avg(departure_delay) FILTER (WHERE operated)::float8 AS mean_departure_delay,
    avg(greatest(departure_delay, 0)) FILTER (WHERE operated)::float8 AS mean_departure_delay_early_as_zero,
    avg(arrival_delay) FILTER (WHERE completed)::float8 AS mean_arrival_delay,
    avg(greatest(arrival_delay, 0)) FILTER (WHERE completed)::float8 AS mean_arrival_delay_early_as_zero
FROM (
    SELECT
        *,
        status IN ('departed', 'arrived', 'diverted') AND departure_delay IS NOT NULL AS operated,
        status = 'arrived' AND arrival_delay IS NOT NULL AS completed
    FROM flights
) AS legs
GROUP BY flight_date, carrier, origin
