"""The only room with dbos: durable jobs, executor locks, reaper."""
