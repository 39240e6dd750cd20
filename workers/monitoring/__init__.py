"""What a service shows of itself: metrics, health, and what its log lines are about."""
