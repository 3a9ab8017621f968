module flagschedule.io/dev/cluster/pause

go 1.26.0
