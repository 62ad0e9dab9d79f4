"""The stage loop and what it stands on: schedules, random streams, checkpoints, events, errors."""
