"""What a sweep takes before anything runs: end points, trainings, time, memory and disk."""
