"""A step of learning: units counted, schedules, the batch plan, rewards, statistics, ranks, seeds."""
