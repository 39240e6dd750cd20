"""What computes: generation in Celery workers and analysis in Ray actors."""
