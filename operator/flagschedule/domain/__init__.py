"""The rules of FlagSchedule, free of I/O: what an object, its row and its status mean to each other."""
