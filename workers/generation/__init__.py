"""Units become shards: Celery workers render, encode and store."""
