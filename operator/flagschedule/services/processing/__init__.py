"""One run of the processor: what it applies, refuses, deletes from the cache and reports."""
