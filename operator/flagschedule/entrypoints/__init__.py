"""The programs: the operator (Kopf) and the processor (a CronJob's run)."""
