-- How many schedules that are due each freeze of this cluster holds; what two freezes hold counts for both.
SELECT z.uid, count(*) AS held
FROM (
    /* due */ SELECT
) AS s
JOIN feature_flags AS f ON f.id = s.flag_id
JOIN flag_schedule_freezes AS z ON z.cluster = %(cluster)s AND /* holds */ false
GROUP BY z.uid
